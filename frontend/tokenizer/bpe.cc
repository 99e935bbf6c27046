#include "frontend/tokenizer/bpe.h"

#include <bit>
#include <cstdio>
#include <queue>
#include <utility>

#include "frontend/tokenizer/utf8.h"

namespace exo::tokenizer {
namespace {

constexpr int32_t kNone = -1;

uint64_t pairKey(int32_t left, int32_t right) {
  return uint64_t{static_cast<uint32_t>(left)} << 32 | static_cast<uint32_t>(right);
}

/// A pair that could merge when it was queued; it is stale when its symbols have changed since.
struct Candidate {
  int32_t rank, position, id;
  bool operator<(const Candidate& other) const {  // std::priority_queue gives the greatest: the lowest rank, leftmost
    return std::pair(rank, position) > std::pair(other.rank, other.position);
  }
};

/// "a b" or ["a", "b"] as the two tokens it names.
Result<std::pair<std::string_view, std::string_view>> mergePair(const JsonNode& merges, size_t index) {
  const nlohmann::json& value = merges.value()[index];
  if (value.is_string()) {
    const std::string_view text = value.get_ref<const std::string&>();
    const size_t space = text.find(' ');
    if (space != std::string_view::npos && text.find(' ', space + 1) == std::string_view::npos) {
      return std::pair(text.substr(0, space), text.substr(space + 1));
    }
  } else if (value.is_array() && value.size() == 2 && value[0].is_string() && value[1].is_string()) {
    return std::pair<std::string_view, std::string_view>(value[0].get_ref<const std::string&>(),
                                                         value[1].get_ref<const std::string&>());
  }
  return merges.element(index).wrong("two tokens, as \"a b\" or [\"a\", \"b\"]");
}

Status parseVocabulary(const JsonNode& node, Vocabulary& vocabulary) {
  EXO_TRY(node.requireObject());
  vocabulary.reserve(node.value().size());
  for (const auto& [token, id] : node.value().items()) {
    if (!id.is_number_unsigned() || id.get<uint64_t>() >= static_cast<uint64_t>(kIdLimit)) {
      return JsonNode(id, node.path() + "[\"" + token + "\"]").index(kIdLimit).error();
    }
    EXO_TRY(vocabulary.add(token, id.get<int64_t>()));
  }
  return {};
}

Status refuseText(const JsonNode& node) {
  if (node.isNull()) return {};
  EXO_ASSIGN(const std::string text, node.string());
  if (!text.empty()) return node.refuse("\"" + text + "\"");
  return {};
}

std::vector<int32_t> findByteTokens(const Vocabulary& vocabulary) {
  std::vector<int32_t> ids;
  for (unsigned byte = 0; byte < 256; ++byte) {
    char name[8];
    std::snprintf(name, sizeof(name), "<0x%02X>", byte);
    ids.push_back(vocabulary.find(name).value_or(kNone));
  }
  return ids;
}

}  // namespace

struct BpeModel::Symbol {
  int32_t id;
  int32_t previous, next;  // index, or kNone
  bool merged_away;
};

void MergeTable::reserve(size_t num_merges) {
  slots_.assign(std::bit_ceil(num_merges * 2 + 2), Slot{});
}

size_t MergeTable::slotOf(uint64_t key) const {
  const size_t mask = slots_.size() - 1;
  uint64_t hash = key * 0x9E3779B97F4A7C15ull;
  hash ^= hash >> 32;
  size_t slot = static_cast<size_t>(hash) & mask;
  while (slots_[slot].merge.rank >= 0 && slots_[slot].key != key) slot = (slot + 1) & mask;
  return slot;
}

void MergeTable::set(int32_t left, int32_t right, Merge merge) {
  const uint64_t key = pairKey(left, right);
  slots_[slotOf(key)] = {key, merge};
}

const MergeTable::Merge* MergeTable::find(int32_t left, int32_t right) const {
  if (slots_.empty()) return nullptr;
  const Slot& slot = slots_[slotOf(pairKey(left, right))];
  return slot.merge.rank < 0 ? nullptr : &slot.merge;
}

Result<BpeModel> BpeModel::parse(const JsonNode& model, Vocabulary& vocabulary) {
  EXO_TRY(model.requireObject());
  if (!model.member("type").isNull()) {  // files of 2020 leave it out
    EXO_ASSIGN(const std::string type, model.typeName());
    if (type != "BPE") return model.refuse("the model type \"" + type + "\"");
  }
  EXO_TRY(model.requireKeys({"type", "dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk",
                             "byte_fallback", "ignore_merges", "vocab", "merges"}));
  const JsonNode dropout = model.member("dropout");
  if (!dropout.isNull() && dropout.value() != 0) return dropout.refuse("dropout");
  EXO_TRY(refuseText(model.member("continuing_subword_prefix")));
  EXO_TRY(refuseText(model.member("end_of_word_suffix")));

  BpeModel bpe;
  EXO_ASSIGN(bpe.fuse_unk_, model.member("fuse_unk").booleanOr(false));
  EXO_ASSIGN(bpe.byte_fallback_, model.member("byte_fallback").booleanOr(false));
  EXO_ASSIGN(bpe.ignore_merges_, model.member("ignore_merges").booleanOr(false));
  EXO_TRY(parseVocabulary(model.member("vocab"), vocabulary));
  EXO_TRY(bpe.parseMerges(model.member("merges"), vocabulary));
  if (const JsonNode unk = model.member("unk_token"); !unk.isNull()) {
    EXO_ASSIGN(const std::string token, unk.string());
    bpe.unk_id_ = vocabulary.find(token);
    if (!bpe.unk_id_) return unk.wrong("a token of the vocabulary");
  }
  bpe.byte_ids_ = findByteTokens(vocabulary);
  return bpe;
}

Status BpeModel::parseMerges(const JsonNode& merges, const Vocabulary& vocabulary) {
  EXO_ASSIGN(const size_t count, merges.arraySize());
  if (count > INT32_MAX) return merges.wrong("a shorter list");
  merges_.reserve(count);
  std::string merged;
  for (size_t i = 0; i < count; ++i) {
    const nlohmann::json& value = merges.value()[i];
    if (value.is_string() && value.get_ref<const std::string&>().starts_with("#version")) continue;
    EXO_ASSIGN(const auto pair, mergePair(merges, i));
    merged.assign(pair.first).append(pair.second);
    const auto left = vocabulary.find(pair.first), right = vocabulary.find(pair.second), whole = vocabulary.find(merged);
    if (!left || !right || !whole) {
      const std::string_view missing = !left ? pair.first : !right ? pair.second : std::string_view(merged);
      return merges.element(i).wrong("tokens of the vocabulary (\"" + std::string(missing) + "\" is not in it)");
    }
    merges_.set(*left, *right, {static_cast<int32_t>(i), *whole});
  }
  return {};
}

bool BpeModel::appendBytes(std::string_view character, std::vector<Symbol>& symbols) const {
  for (const char byte : character) {
    if (byte_ids_[static_cast<unsigned char>(byte)] == kNone) return false;
  }
  for (const char byte : character) symbols.push_back({byte_ids_[static_cast<unsigned char>(byte)], kNone, kNone, false});
  return true;
}

std::vector<BpeModel::Symbol> BpeModel::symbolsOf(std::string_view word, const Vocabulary& vocabulary) const {
  std::vector<Symbol> symbols;
  symbols.reserve(word.size());
  // The unknown token is written when the next known character (not byte) comes: so does the reference implementation.
  bool unknown_pending = false;
  const auto flush = [&] {
    if (unknown_pending) symbols.push_back({*unk_id_, kNone, kNone, false});
    unknown_pending = false;
  };
  for (size_t i = 0; i < word.size();) {
    const std::string_view character = word.substr(i, sequenceSize(word[i]));
    i += character.size();
    if (const auto id = vocabulary.find(character)) {
      flush();
      symbols.push_back({*id, kNone, kNone, false});
    } else if (!(byte_fallback_ && appendBytes(character, symbols)) && unk_id_) {
      if (!fuse_unk_) flush();
      unknown_pending = true;
    }
  }
  flush();
  for (size_t i = 0; i < symbols.size(); ++i) {
    symbols[i].previous = static_cast<int32_t>(i) - 1;
    symbols[i].next = i + 1 < symbols.size() ? static_cast<int32_t>(i) + 1 : kNone;
  }
  return symbols;
}

void BpeModel::merge(std::vector<Symbol>& symbols) const {
  std::priority_queue<Candidate> queue;
  const auto enqueue = [&](int32_t left) {
    if (left == kNone || symbols[left].next == kNone) return;
    const auto* merge = merges_.find(symbols[left].id, symbols[symbols[left].next].id);
    if (merge) queue.push({merge->rank, left, merge->id});
  };
  for (size_t i = 0; i + 1 < symbols.size(); ++i) enqueue(static_cast<int32_t>(i));
  while (!queue.empty()) {
    const Candidate top = queue.top();
    queue.pop();
    Symbol& left = symbols[top.position];
    if (left.merged_away || left.next == kNone) continue;
    Symbol& right = symbols[left.next];
    const auto* merge = merges_.find(left.id, right.id);
    if (!merge || merge->id != top.id) continue;
    left.id = top.id;
    left.next = right.next;
    right.merged_away = true;
    if (left.next != kNone) symbols[left.next].previous = top.position;
    enqueue(left.previous);
    enqueue(top.position);
  }
}

void BpeModel::encode(std::string_view word, const Vocabulary& vocabulary, std::vector<int32_t>& ids) const {
  if (ignore_merges_) {
    if (const auto id = vocabulary.find(word)) {
      ids.push_back(*id);
      return;
    }
  }
  std::vector<Symbol> symbols = symbolsOf(word, vocabulary);
  merge(symbols);
  for (const Symbol& symbol : symbols) {
    if (!symbol.merged_away) ids.push_back(symbol.id);
  }
}

}  // namespace exo::tokenizer
