"""From a model folder to one GGUF file for llama.cpp: tensors, tokenizer, template and ends, checked or refused."""
