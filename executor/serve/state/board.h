// A board of named JSON values that many clients follow, each at its own pace: every value remembers the number of its last
// change, so what a client lacks is what changed after the number it has. Nothing is queued per client, and a slow one
// gets the newest values only.
// Threads: one at a time.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include <nlohmann/json.hpp>

namespace exo::serve {

class Board {
 public:
  /// Raises the number if the value is another one than before.
  void set(const std::string& key, nlohmann::json value);
  /// Of the last change; 0: nothing was ever set.
  uint64_t number() const { return number_; }
  /// The values that changed after `number`, by key; all of them after 0.
  nlohmann::json since(uint64_t number) const;

 private:
  struct Entry {
    nlohmann::json value;
    uint64_t changed = 0;
  };
  std::map<std::string, Entry> entries_;
  uint64_t number_ = 0;
};

}  // namespace exo::serve
