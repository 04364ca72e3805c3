from transformers import AutoModel, AutoTokenizer


class Embeddings:
    def __init__(self, model_path):
        self.tokenizer = AutoTokenizer.from_pretrained(model_path)
        self.client = AutoModel.from_pretrained(model_path).eval()

    def embed_documents(self, texts):
        inputs = self.tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
        return self.client(**inputs).pooler_output.detach()
