#include <fstream>
#include <iterator>

#include "tests/executor/serve/scripted_engine.h"

namespace exo::serve::testing {

ModelInfo testModel(const std::string& chat_template) {
  ModelInfo model;
  model.name = "org/test-model";
  model.context_length = 1000;
  auto tokenizer = tokenizer::Tokenizer::load(EXO_TEST_DATA "/tokenizer_qwen");
  EXO_CHECK(tokenizer.ok()) << tokenizer.error().message();
  model.vocab_size = tokenizer->vocabSize();
  model.eos_ids = tokenizer->eosIds();
  model.tokenizer = std::make_shared<tokenizer::Tokenizer>(std::move(*tokenizer));
  model.vocabulary = vocabularyOf(model.tokenizer, model.eos_ids);
  auto parsed = ChatTemplate::parse(chat_template);
  EXO_CHECK(parsed.ok()) << parsed.error().message();
  model.chat_template = std::make_shared<ChatTemplate>(std::move(*parsed));
  return model;
}

}  // namespace exo::serve::testing
