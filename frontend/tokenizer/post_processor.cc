#include "frontend/tokenizer/post_processor.h"

#include "frontend/tokenizer/normalizer.h"

namespace exo::tokenizer {
namespace {

Result<PostProcessor> parseNested(const JsonNode& node, const Vocabulary& vocabulary, int depth);

/// "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}} → the ids of one name.
Result<std::vector<int32_t>> idsOf(const JsonNode& special_tokens, const JsonNode& name, const Vocabulary& vocabulary) {
  EXO_ASSIGN(const std::string key, name.string());
  const JsonNode entry = special_tokens.member(key.c_str());
  EXO_TRY(entry.requireKeys({"id", "ids", "tokens"}));
  const JsonNode list = entry.member("ids");
  EXO_ASSIGN(const size_t count, list.arraySize());
  std::vector<int32_t> ids;
  for (size_t i = 0; i < count; ++i) {
    EXO_ASSIGN(const int64_t id, list.element(i).index(kIdLimit));
    if (!vocabulary.token(static_cast<int32_t>(id))) return list.element(i).wrong("the id of a token");
    ids.push_back(static_cast<int32_t>(id));
  }
  return ids;
}

Result<PostProcessor> parseTemplate(const JsonNode& node, const Vocabulary& vocabulary) {
  EXO_TRY(node.requireKeys({"type", "single", "pair", "special_tokens"}));  // we never encode pairs
  EXO_TRY(node.member("special_tokens").requireObject());
  const JsonNode single = node.member("single");
  EXO_ASSIGN(const size_t count, single.arraySize());
  PostProcessor out;
  out.has_template = true;
  bool behind_text = false;
  for (size_t i = 0; i < count; ++i) {
    const JsonNode piece = single.element(i);
    EXO_TRY(piece.requireKeys({"SpecialToken", "Sequence"}));
    if (piece.value().size() != 1) return piece.wrong("either a SpecialToken or a Sequence");
    if (const JsonNode text = piece.member("Sequence"); !text.isNull()) {
      EXO_TRY(text.requireKeys({"id", "type_id"}));
      if (text.member("id").value() != "A" || behind_text) return text.wrong("the sequence A, once");
      behind_text = true;
      continue;
    }
    const JsonNode token = piece.member("SpecialToken");
    EXO_TRY(token.requireKeys({"id", "type_id"}));
    EXO_ASSIGN(const std::vector<int32_t> ids, idsOf(node.member("special_tokens"), token.member("id"), vocabulary));
    auto& side = behind_text ? out.suffix : out.prefix;
    side.insert(side.end(), ids.begin(), ids.end());
  }
  if (!behind_text) return single.wrong("a list with the sequence A");
  return out;
}

/// The steps of a sequence surround what the steps before have made.
Result<PostProcessor> parseSequence(const JsonNode& node, const Vocabulary& vocabulary, int depth) {
  EXO_TRY(node.requireKeys({"type", "processors"}));
  const JsonNode list = node.member("processors");
  EXO_ASSIGN(const size_t count, list.arraySize());
  PostProcessor out;
  for (size_t i = 0; i < count; ++i) {
    EXO_ASSIGN(const PostProcessor step, parseNested(list.element(i), vocabulary, depth + 1));
    out.prefix.insert(out.prefix.begin(), step.prefix.begin(), step.prefix.end());
    out.suffix.insert(out.suffix.end(), step.suffix.begin(), step.suffix.end());
    out.has_template |= step.has_template;
  }
  return out;
}

Result<PostProcessor> parseNested(const JsonNode& node, const Vocabulary& vocabulary, int depth) {
  if (depth > kMaxComponentDepth) return node.refuse("such deep nesting");
  EXO_ASSIGN(const std::string type, node.typeName());
  if (type == "Sequence") return parseSequence(node, vocabulary, depth);
  if (type == "TemplateProcessing") return parseTemplate(node, vocabulary);
  if (type == "ByteLevel") return PostProcessor{};  // trims offsets, which we do not keep; adds no ids
  return node.refuse("the post-processor \"" + type + "\"");
}

}  // namespace

Result<PostProcessor> PostProcessor::parse(const JsonNode& node, const Vocabulary& vocabulary) {
  if (node.isNull()) return PostProcessor{};
  return parseNested(node, vocabulary, 0);
}

}  // namespace exo::tokenizer
