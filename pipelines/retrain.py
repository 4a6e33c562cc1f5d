"""Train again if anything changed: for schedules, or whenever new pictures have come.

zenml pipeline run pipelines.retrain.retrain -c configs/retrain.yaml
python -m pipelines.retrain -c configs/retrain.yaml
"""

from zenml import Model

from pipelines.finetune import finetune
from pipelines.strict import main, strict_pipeline

retrain = strict_pipeline(model=Model(name="sana"), name="retrain")(finetune.entrypoint)
retrain.__doc__ = """`finetune` under a name of its own: it looks for changes, and makes only what they touch.

Nothing changed: nothing is encoded or trained, no model version is left behind, and nobody is told. Else what is new is
encoded, a model trained from the base or on from the champion, scored against that, and published.
"""

if __name__ == "__main__":
    main("pipelines.retrain", "retrain")
