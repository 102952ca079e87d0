from run_builder import build, change_json, example  # noqa: F401
