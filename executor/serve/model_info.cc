#include "executor/serve/model_info.h"

namespace exo::serve {
namespace {

std::shared_ptr<const tokenizer::Tokenizer> loadTokenizer(const std::string& directory, const std::function<void(const std::string&)>& warn) {
  if (directory.empty() || !tokenizer::Tokenizer::exists(directory)) return nullptr;
  Result<tokenizer::Tokenizer> tokenizer = tokenizer::Tokenizer::load(directory);
  if (tokenizer.ok()) return std::make_shared<const tokenizer::Tokenizer>(std::move(tokenizer).value());
  warn("no text, only token ids: " + tokenizer.error().message());
  return nullptr;
}

std::shared_ptr<const ChatTemplate> loadTemplate(const std::string& directory, const std::function<void(const std::string&)>& warn) {
  if (directory.empty()) return nullptr;
  Result<std::string> source = loadChatTemplate(directory);
  if (!source.ok()) {
    if (source.error().code() != ErrorCode::kNotFound) warn("no chat: " + source.error().message());
    return nullptr;
  }
  Result<ChatTemplate> parsed = ChatTemplate::parse(std::move(source).value());
  if (parsed.ok()) return std::make_shared<const ChatTemplate>(std::move(parsed).value());
  warn("no chat: " + parsed.error().message());
  return nullptr;
}

}  // namespace

ModelInfo modelInfoOf(const plan::Plan& plan, const std::string& directory, const std::function<void(const std::string&)>& warn) {
  ModelInfo info{.name = plan.model(), .context_length = static_cast<int64_t>(plan.max_context())};
  if (plan.programs_size() > 0) info.vocab_size = static_cast<int64_t>(plan.programs(0).vocab_size());
  info.tokenizer = loadTokenizer(directory, warn);
  info.chat_template = loadTemplate(directory, warn);
  info.eos_ids.assign(plan.eos_ids().begin(), plan.eos_ids().end());
  if (plan.has_bos_id()) info.bos_id = plan.bos_id();
  if (info.tokenizer) info.vocabulary = vocabularyOf(info.tokenizer, info.eos_ids);
  return info;
}

}  // namespace exo::serve
