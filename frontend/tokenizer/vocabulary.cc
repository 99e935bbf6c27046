#include "frontend/tokenizer/vocabulary.h"

namespace exo::tokenizer {

Status Vocabulary::add(std::string token, int64_t id) {
  EXO_CHECK(id >= 0 && id < kIdLimit) << id;
  if (const auto known = find(token)) {
    if (*known == id) return {};
    return invalid("tokenizer: the token \"", token, "\" has two ids, ", *known, " and ", id);
  }
  if (const std::string* other = this->token(static_cast<int32_t>(id))) {
    return invalid("tokenizer: the id ", id, " belongs to two tokens, \"", *other, "\" and \"", token, "\"");
  }
  if (static_cast<size_t>(id) >= slot_of_id_.size()) slot_of_id_.resize(static_cast<size_t>(id) + 1, -1);
  slot_of_id_[static_cast<size_t>(id)] = static_cast<int32_t>(tokens_.size());
  tokens_.push_back(std::move(token));
  ids_.emplace(tokens_.back(), static_cast<int32_t>(id));
  return {};
}

std::optional<int32_t> Vocabulary::find(std::string_view token) const {
  const auto found = ids_.find(token);
  if (found == ids_.end()) return std::nullopt;
  return found->second;
}

const std::string* Vocabulary::token(int32_t id) const {
  if (id < 0 || id >= idEnd()) return nullptr;
  const int32_t slot = slot_of_id_[static_cast<size_t>(id)];
  return slot < 0 ? nullptr : &tokens_[static_cast<size_t>(slot)];
}

}  // namespace exo::tokenizer
