#include "executor/serve/model_vocabulary.h"

#include <algorithm>

#include "executor/serve/answer_marks.h"

namespace exo::serve {
namespace {

std::vector<std::string> bytesOf(const tokenizer::Tokenizer& tokenizer, const std::vector<int32_t>& eos_ids) {
  std::vector<std::string> bytes(static_cast<size_t>(tokenizer.vocabSize()));
  for (int32_t id = 0; id < tokenizer.vocabSize(); ++id) {
    std::string text = tokenizer.tokenBytes(id);
    const bool mark = std::find(marks::kAll.begin(), marks::kAll.end(), text) != marks::kAll.end();
    const bool ends = std::find(eos_ids.begin(), eos_ids.end(), id) != eos_ids.end();
    if (!ends && (mark || !tokenizer.isSpecial(id))) bytes[static_cast<size_t>(id)] = std::move(text);
  }
  return bytes;
}

}  // namespace

SharedVocabulary vocabularyOf(std::shared_ptr<const tokenizer::Tokenizer> tokenizer, std::vector<int32_t> eos_ids) {
  return std::async(std::launch::deferred, [tokenizer = std::move(tokenizer), eos_ids = std::move(eos_ids)] {
           return std::make_shared<const Vocabulary>(bytesOf(*tokenizer, eos_ids), eos_ids);
         }).share();
}

}  // namespace exo::serve
