// Package openai computes embeddings by asking a server that has OpenAI's
// interface, /v1/embeddings: Ollama, vLLM, llama.cpp, Text Embeddings Inference,
// or a provider on the network.
//
//	e, err := openai.New(openai.Options{URL: "http://127.0.0.1:11434/v1", Model: "nomic-embed-text"})
//
// # Guarantees
//
//   - Texts are sent in batches and come back in their order, whatever order the
//     server answers in (TestBatches).
//   - Every request has an end, and is tried again after a time that doubles and
//     is not the same for all, when the server fails, hurries or says nonsense
//     (TestRetries, TestTimeout); not when asking again cannot help
//     (TestNoRetries).
//   - What is returned can be journaled: as many vectors as texts, each of the
//     dimension, finite and pointing somewhere. Anything else is an error that
//     says what was wrong with the answer (TestBadAnswers).
//   - An answer is read in bounded memory (TestHugeAnswer), and the key stands in
//     no error (TestKeyIsNotShown).
//
// # What it does not do
//
// It does not cut texts to what a model can take: a server that refuses a text
// is believed. It does not promise that a server gives a text the same vector
// twice, which is why journals keep what it gave. It does not go on without the
// server: callers decide what becomes of a text without a vector.
package openai
