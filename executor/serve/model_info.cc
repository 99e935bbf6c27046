#include "executor/serve/model_info.h"

#include <algorithm>
#include <map>

#include "executor/serve/state/shard_map.h"

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

/// That of most bytes.
std::string heldEncoding(const ShardMap& map) {
  std::map<std::string, uint64_t> bytes;
  for (const ShardBlock& block : map.blocks) {
    for (const auto& cell : block.cells) {
      if (!cell) continue;
      for (const ShardStep& step : map.cells[*cell].steps) {
        if (const auto* weight = std::get_if<ShardWeight>(&step)) bytes[weight->encoding] += weight->bytes;
      }
    }
  }
  const auto most = std::max_element(bytes.begin(), bytes.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
  std::string name = most == bytes.end() ? "" : most->first;
  std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return std::toupper(c); });
  return name;
}

/// What lists show; of files that cannot be described, nothing.
void describe(const plan::Plan& plan, const std::string& directory, ModelInfo& info) {
  const ShardMap map = shardMap(plan);
  for (const ShardRank& rank : map.ranks) info.memory_bytes += static_cast<int64_t>(rank.weight_bytes + rank.kv_bytes + rank.arena_bytes);
  info.num_nodes = std::max(1, plan.programs_size());
  info.encoding = heldEncoding(map);
  if (directory.empty()) return;
  auto stored = describeStoredModel(directory);
  if (!stored.ok()) return;
  info.parameters = stored->parameters;
  info.stored = std::move(stored).value();
}

}  // namespace

ModelInfo modelInfoOf(const plan::Plan& plan, const std::string& directory, const std::function<void(const std::string&)>& warn) {
  ModelInfo info{.name = plan.model(), .context_length = static_cast<int64_t>(plan.max_context())};
  if (plan.programs_size() > 0) info.vocab_size = static_cast<int64_t>(plan.programs(0).vocab_size());
  info.tokenizer = loadTokenizer(directory, warn);
  info.chat_template = loadTemplate(directory, warn);
  info.eos_ids.assign(plan.eos_ids().begin(), plan.eos_ids().end());
  describe(plan, directory, info);
  if (plan.has_bos_id()) info.bos_id = plan.bos_id();
  if (info.tokenizer) info.vocabulary = vocabularyOf(info.tokenizer, info.eos_ids);
  return info;
}

}  // namespace exo::serve
