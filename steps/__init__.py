"""One ZenML step a file: a thin call of the library."""

from steps.input_errors import log_input_errors_in_one_line

log_input_errors_in_one_line()
