"""SimpleTuner's options that are not taken over, each with the reason.

With `taken.py` and `FALLBACKS` of `sets.py` these are all options of release 4.10.1.
"""

from sanaflow.simpletuner.option import LeftOut

TABLE = """
missing:
  the instruction before a caption is diffusers' own, which SanaPipeline draws with, too; nothing changes it
    sana_complex_human_instruction
  a transformer from elsewhere: put it into the pipeline's folder, and name that as the model
    pretrained_transformer_model_name_or_path pretrained_transformer_subfolder
  load it with variant= and save it; name that folder
    variant
  no ControlNet, control or grounding
    controlnet control controlnet_custom_config controlnet_model_name_or_path conditioning_multidataset_sampling
    max_grounding_entities pretrained_grounding_model_name_or_path
  the transformer alone is trained, and all of it or an adapter
    train_text_encoder text_encoder_lr text_encoder_limit save_text_encoder layer_freeze_strategy
    freeze_encoder_before freeze_encoder_after freeze_encoder_strategy
  of adapters there are rank, alpha, dropout, targets, DoRA and LyCORIS' settings
    lora_init_type peft_lora_mode singlora_ramp_up_steps init_lokr_norm slider_lora_target assistant_lora_path
    assistant_lora_strength assistant_lora_inference_strength disable_assistant_lora
  an adapter goes on from the model in use: training.start_from 'champion'
    init_lora init_lora_step init_lora_ema
  an adapter is written in diffusers' or LyCORIS' own layout
    lora_format
  training techniques that aren't here
    tread_config diffusion_blocks_config diff2flow_enabled diff2flow_loss distillation_method distillation_config
    scheduled_sampling_max_step_offset scheduled_sampling_strategy scheduled_sampling_probability
    scheduled_sampling_prob_start scheduled_sampling_prob_end scheduled_sampling_ramp_steps
    scheduled_sampling_start_step scheduled_sampling_ramp_shape scheduled_sampling_sampler scheduled_sampling_order
    scheduled_sampling_reflexflow scheduled_sampling_reflexflow_alpha scheduled_sampling_reflexflow_beta1
    scheduled_sampling_reflexflow_beta2 twinflow_enabled twinflow_target_step_count xm_enabled xm_candidate_count
    xm_training_target xm_selection_scope xm_block_size nextlat_enabled nextlat_block_index nextlat_weight
    nextlat_state_loss nextlat_kl_weight irepa_enabled irepa_spatial_norm_alpha irepa_projector_kernel_size
    crepa_enabled crepa_block_index crepa_lambda crepa_adjacent_distance crepa_adjacent_tau crepa_encoder
    crepa_encoder_frames_batch_size crepa_use_backbone_features crepa_feature_source crepa_self_flow
    crepa_teacher_block_index crepa_self_flow_mask_ratio crepa_encoder_image_size crepa_drop_vae_encoder
    crepa_normalize_by_frames crepa_normalize_neighbour_sum crepa_spatial_align crepa_use_tae crepa_scheduler
    crepa_warmup_steps crepa_decay_steps crepa_lambda_end crepa_power crepa_cutoff_step crepa_similarity_threshold
    crepa_similarity_ema_decay crepa_threshold_mode internal_guidance_enabled internal_guidance_loss_weight
    internal_guidance_block_index validation_internal_guidance_scale layersync_enabled layersync_student_block
    layersync_teacher_block layersync_lambda urepa_enabled urepa_lambda urepa_manifold_weight urepa_model
    urepa_encoder_image_size urepa_use_tae urepa_scheduler urepa_warmup_steps urepa_decay_steps urepa_lambda_end
    urepa_power urepa_cutoff_step urepa_similarity_threshold urepa_similarity_ema_decay urepa_threshold_mode
  noise levels are logit-normal, uniform or Beta
    flow_cubic_schedule_weights mixflow_enabled mixflow_gamma
  input perturbation stays as it is
    input_perturbation_steps
  the learning rate is taken as it stands: write the product
    lr_scale lr_scale_sqrt
  a moving average that starts with the first step
    ema_warmup_steps
  checkpoints are counted in steps
    checkpoint_epoch_interval
  validation draws one picture a prompt and size at each interval, with guidance and a negative prompt
    validate_after_step validate_after_epoch num_validation_images validation_randomize validation_guidance_rescale
    validation_noise_scheduler validation_input validation_using_datasets validation_guidance_skip_layers
    validation_guidance_skip_layers_start validation_guidance_skip_layers_stop validation_guidance_skip_scale
    validation_lycoris_strength validation_method validation_external_script validation_external_background
    validation_adapter_path validation_adapter_name validation_adapter_strength validation_adapter_mode
    validation_adapter_config validation_stitch_input_location validation_preview validation_preview_steps
  no prompts are built in: name your own
    validation_prompt_library
  the loss is measured on every 'dataset_type: eval' set, each by itself
    eval_dataset_id eval_dataset_pooling eval_loss_disable
  split over several GPUs by 'fsdp_enable' (FSDP2); no offloading, no several machines
    deepspeed_config offload_param_path fsdp_cpu_offload context_parallel_size context_parallel_comm_strategy
    num_machines
  `python -m sanaflow fit` says what saves memory here
    musubi_blocks_to_swap musubi_block_swap_device quantize_activations quantization_config ramtorch_target_modules
    ramtorch_text_encoder ramtorch_vae ramtorch_controlnet ramtorch_transformer_percent
    ramtorch_text_encoder_percent ramtorch ramtorch_disable_sync_hooks ramtorch_disable_extensions
    gradient_checkpointing_segment_stride optimizer_cpu_offload_method optimizer_offload_gradients
    optimizer_release_gradients fuse_optimizer gradient_precision enable_chunked_feed_forward
    feed_forward_chunk_size gradient_checkpointing_backend gradient_checkpointing_offload_attention
    gradient_checkpointing_offload_prefetch gradient_checkpointing_offload_pin_memory_max_buckets
  no filter for unsafe pictures: filter the folder first
    enable_nsfw_check nsfw_check_models nsfw_check_min_votes nsfw_check_backend_types nsfw_check_sample_types
    nsfw_check_video_frame_count nsfw_check_video_frame_selection nsfw_check_video_min_flagged_frames
  TensorBoard and W&B are what there is
    custom_tracker
  nothing of yours is run by a step: 'notifications' or the stack's alerter tell of a new model
    post_checkpoint_script post_upload_script
  the hub is the one place that is pushed to; the folder may be copied anywhere
    publishing_config
  the card is made from the run; edit it in the release
    model_card_note model_card_base_model modelspec_comment model_card_safe_for_work
  sets share batches; an entry's 'probability' is its share
    data_backend_sampling
  noise has no offset
    offset_noise noise_offset noise_offset_probability
  the disk's free space isn't watched
    disk_low_threshold disk_low_action disk_low_script
no effect:
  SimpleTuner keeps Sana's own autoencoder, in fp32; so does 'caches.vae_dtype' here
    pretrained_vae_model_name_or_path vae_dtype
  SimpleTuner takes 300 tokens for Sana, as here
    tokenizer_max_length
  SimpleTuner takes steps of 64 for Sana, as here
    aspect_bucket_alignment
  SimpleTuner never reads it; set on an entry of 'datasets' it works here
    max_upscale_threshold
  SimpleTuner's loss of Sana is the plain squared error, as here
    loss_type huber_schedule huber_c use_soft_min_snr soft_min_snr_sigma_data snr_weight
  SimpleTuner doesn't weigh Sana's loss; 'training.snr_gamma' here would
    snr_gamma
  SimpleTuner draws Sana's noise levels without it
    flow_custom_timesteps flow_timesteps_mode flux_fast_schedule disable_segmented_timestep_sampling
  of models that predict noise: Sana's flow has none of it
    prediction_type rescale_betas_zero_snr timestep_bias_strategy timestep_bias_begin timestep_bias_end
    timestep_bias_multiplier timestep_bias_portion training_scheduler_timestep_spacing
    inference_scheduler_timestep_spacing
  of another model family
    text_encoder_2_precision text_encoder_3_precision text_encoder_4_precision unet_attention_slice
    pretrained_unet_model_name_or_path pretrained_unet_subfolder pretrained_t5_model_name_or_path
    pretrained_gemma_model_name_or_path qwen_text_encoder_model_name_or_path t5_padding framerate
    vae_enable_patch_conv vae_enable_temporal_roll validation_num_video_frames data_aesthetic_score
    audio_max_duration_seconds audio_min_duration_seconds audio_channels audio_duration_interval
    audio_truncation_mode audio_flow_schedule_shift validation_lyrics validation_audio_duration
    validation_audio_only acestep_lora_target lyrics_embedder_train lyrics_embedder_optimizer lyrics_embedder_lr
    lyrics_embedder_lr_scheduler refiner_training refiner_training_invert_schedule refiner_training_strength
    sdxl_refiner_uses_full_range cosmos3_reasoner_component cosmos3_generator_component fuse_qkv_projections
    deepfloyd_validation_pipeline_mode deepfloyd_validation_stage1_model deepfloyd_validation_stage2_model
    deepfloyd_validation_stage3_mode deepfloyd_validation_stage3_model
    deepfloyd_validation_stage1_num_inference_steps deepfloyd_validation_stage2_num_inference_steps
    deepfloyd_validation_stage1_guidance deepfloyd_validation_stage2_guidance deepfloyd_validation_stage3_guidance
    deepfloyd_validation_stage3_noise_level validation_guidance_real validation_no_cfg_until_timestep
    custom_text_encoder_intermediary_layers flux_lora_target flux_guidance_mode flux_attention_masked_training
    flux_guidance_value flux_guidance_min flux_guidance_max flux3_prompt_upsample hidream_use_load_balancing_loss
    hidream_load_balancing_loss_weight ideogram_auto_json ideogram_validation ideogram_prompt_upsample
    ideogram_fp8_base_upcast ideogram_prompt_enhancer_head_id ideogram_schedule_mu ideogram_schedule_std
    ideogram_load_unconditional_transformer ideogram_uncond_ramtorch krea2_reference_latents ltx_train_mode
    ltx_i2v_prob ltx_partial_noise_fraction ltx_protect_first_frame ltx2_validation_pipeline_mode
    ltx2_validation_spatial_upsampler_model ltx2_validation_spatial_upsampler_filename
    ltx2_validation_audio_guidance ltx2_first_frame_conditioning_probability ltx2_prefix_conditioning_probability
    ltx2_suffix_conditioning_probability ltx2_mask_conditioning_probability ltx2_prefix_conditioning_frames
    ltx2_suffix_conditioning_frames ltx2_reference_spatial_scale_factor ltx2_reference_temporal_scale_factor
    ltx2_intrinsic_conditioning validation_ltx2_video_conditioning minimax_h3_reference_mode minimax_h3_target_mode
    minimax_h3_sparse_attention minimax_h3_sparse_block_shape minimax_h3_sparse_share_heads
    minimax_h3_sparse_video_kv_fraction minimax_h3_sparse_start_layer minimax_music_train_component
    minimax_music_rvq_encoder_model_name_or_path minimax_music_rvq_encoder_subfolder
    minimax_music_rvq_encoder_revision minimax_music_rvq_vae_model_name_or_path minimax_music_lm_adapter
    minimax_music_lm_adapter_strength minimax_music_lm_precache_mode minimax_music_lm_max_frames
    minimax_music_lm_window_mode minimax_music_lm_target_frames minimax_music_lm_continuation_crop_mode
    minimax_music_lm_min_duration_seconds minimax_music_lm_max_duration_seconds moss_image_auto_json
    moss_image_prompt_upsample moss_image_prompt_upsampler_model_id moss_image_validation_shift
    moss_image_uncond_skip_layers pixart_validation_pipeline_mode pixart_validation_stage1_model
    pixart_validation_stage2_model sdxl_validation_pipeline_mode sdxl_validation_stage1_model
    sdxl_validation_stage2_model sd3_clip_uncond_behaviour sd3_t5_uncond_behaviour wan_force_2_1_time_embedding
    wan_validation_load_other_stage
  of sdnq, which isn't here
    sdnq_weights_dtype sdnq_quantized_matmul_dtype sdnq_group_size sdnq_use_quantized_matmul sdnq_compile_mode
    sdnq_use_static_quantization sdnq_use_stochastic_rounding sdnq_dequantize_fp32 sdnq_use_svd sdnq_use_hadamard
    sdnq_svd_rank sdnq_svd_steps sdnq_hadamard_group_size sdnq_modules_to_not_convert sdnq_modules_to_not_use_matmul
    sdnq_modules_dtype_dict sdnq_modules_quant_config
not needed:
  Sana is the one family here
    model_family
  the file is read: its entries are the run's 'datasets'
    data_backend_config
  a run ends where 'max_train_steps' or 'num_train_epochs' says
    strict_epoch_limit
  a run that was cut short goes on by itself; SimpleTuner's checkpoints can't be read here
    resume_from_checkpoint
  every run ends with the CLIP scores of base and tuned model
    evaluation_type
  without prompts nothing is drawn
    validation_disable validation_disable_unconditional
  weights and moving average are both drawn, scored and published
    ema_validation
  the moving average is updated where 'ema_device' says
    ema_cpu_only ema_foreach_disable
  pictures are PNG, on the dashboard and in the trackers
    validation_image_format validation_image_quality tracker_image_layout enable_watermark
  the curves are an artifact; 'report_to' sends them elsewhere, too
    logging_dir
  masks weigh the loss by their brightness
    masked_loss_probability
  set it in the entry's 'parquet'
    parquet_caption_column parquet_filename_column
  everything is kept in the artifact store, named by its content
    cache_dir cache_dir_text cache_dir_vae vae_cache_ondemand vae_cache_disable text_cache_ondemand
    text_cache_disable text_embed_full_cache compress_disk_cache vae_cache_scan_behaviour
    preserve_data_backend_cache override_dataset_config
  every run looks anew and reads only what changed
    skip_file_discovery metadata_update_interval aspect_bucket_disable_rebuild ignore_missing_files
  nothing is ever deleted from your pictures
    delete_unwanted_images delete_problematic_images delete_nsfw_images
  a bucket is never left out in silence: too small a one is refused, with the way out
    disable_bucket_pruning
  chosen by the machine
    max_workers aws_max_pool_connections torch_num_threads image_processing_batch_size write_batch_size
    read_batch_size enable_multiprocessing aspect_bucket_worker_count accelerator_cache_clear_interval
    dataloader_prefetch dataloader_prefetch_qlen dataloader_prefetch_device_threshold_mb
  Sana's own linear attention is used, its sums in fp32
    attention_mechanism sla_config sageattention_usage
  models are loaded when they are needed and freed after
    keep_vae_loaded fully_unload_text_encoder offload_during_startup offload_during_save delete_model_after_load
  PyTorch's own choice holds
    disable_tf32 set_grads_to_none
  one process draws, from noise made on the CPU
    validation_multigpu validation_seed_source
  random numbers are functions of seed, process and step
    seed_for_each_device
  'validation_on_startup' draws the base, and it is scored beside the tuned model
    disable_benchmark
  checkpoints are written whole, checked, and put aside if damaged
    checkpointing_use_tempdir delete_invalid_checkpoints checkpointing_rolling_steps checkpoints_rolling_total_limit
  a push is a step of its own
    push_to_hub_background
  the log says it
    debug_aspect_buckets debug_dataset_loader print_filenames print_sampler_statistics
  prodigy adapts in every step
    prodigy_steps
  'torch_compile' compiles each block by itself
    dynamo_mode dynamo_fullgraph dynamo_dynamic dynamo_use_regional_compilation dynamo_wrapper dynamo_cache_export
    dynamo_cache_export_after_first_step dynamo_hub_repo_id
  'num_processes' starts them; the rest is chosen
    accelerate_config accelerate_extra_args main_process_ip main_process_port machine_rank same_network local_rank
    find_unused_parameters fsdp_version fsdp_state_dict_type fsdp_cpu_ram_efficient_loading fsdp_auto_wrap_policy
    fsdp_limit_all_gathers fsdp_activation_checkpointing fsdp_transformer_layer_cls_to_wrap
  no check can be overridden
    i_know_what_i_am_doing
  a model's own code is never run
    trust_remote_code
  was taken out of SimpleTuner
    allow_tf32 pure_bf16 enable_xformers_memory_efficient_attention validation_torch_compile
    validation_torch_compile_mode
secret:
  an address with a token in it: 'notifications.webhook_secret' names a ZenML secret, or a variable
    webhook_config webhook_reporting_interval
"""
"""Kinds, under each the reasons, under each the options it holds for."""


def _read(table: str) -> dict[str, LeftOut]:
    found: dict[str, LeftOut] = {}
    kind, why = "", ""
    for line in table.strip().splitlines():
        text = line.strip()
        if not line.startswith(" "):
            kind = text.removesuffix(":")
        elif not line.startswith("    "):
            why = text
        else:
            found |= dict.fromkeys(text.split(), LeftOut(kind, why))  # type: ignore[arg-type]
    return found


LEFT_OUT = _read(TABLE)
AS_IF_ABSENT = {
    **{"lora_init_type": "default", "peft_lora_mode": "standard", "lora_format": "diffusers"},
    **{"num_validation_images": "1", "validation_lycoris_strength": "1.0", "validation_method": "simpletuner-local"},
    **{"data_backend_sampling": "auto-weighting", "num_machines": "1", "gradient_checkpointing_backend": "torch"},
    **{"context_parallel_size": "1", "validation_internal_guidance_scale": "1.0", "gradient_precision": "unmodified"},
    **{"pretrained_transformer_subfolder": "transformer", "assistant_lora_strength": "1.0"},
    "conditioning_multidataset_sampling": "random",
}
"""Values, besides those that switch something off, that ask for nothing where the option is missing here."""
