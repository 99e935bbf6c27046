#include "executor/serve/state/board.h"

namespace exo::serve {

void Board::set(const std::string& key, nlohmann::json value) {
  Entry& entry = entries_[key];
  if (entry.changed != 0 && entry.value == value) return;
  entry = {std::move(value), ++number_};
}

nlohmann::json Board::since(uint64_t number) const {
  nlohmann::json out = nlohmann::json::object();
  for (const auto& [key, entry] : entries_)
    if (entry.changed > number) out[key] = entry.value;
  return out;
}

}  // namespace exo::serve
