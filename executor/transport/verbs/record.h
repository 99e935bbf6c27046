// Records of a few words that one side's device writes into the other's memory while it is read: nothing promises that they
// land at once, so the last word proves the others.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <optional>

namespace exo::transport::verbs {

template <size_t kWords>
using Record = std::array<uint64_t, kWords>;

/// Any word that differs changes it: a record mixed of an old and a new one does not pass, nor do zeros.
template <size_t kWords>
uint64_t checkOf(const Record<kWords>& words) {
  uint64_t hash = 0x9e3779b97f4a7c15;
  for (size_t i = 0; i + 1 < kWords; ++i) {
    hash = (hash ^ words[i]) * 0xff51afd7ed558ccd;
    hash ^= hash >> 32;
  }
  return hash;
}

/// The last word is filled in.
template <size_t kWords>
Record<kWords> sealed(Record<kWords> words) {
  words.back() = checkOf(words);
  return words;
}

/// Whole, or not there. What was written before the record is visible afterwards.
template <size_t kWords>
std::optional<Record<kWords>> readRecord(Record<kWords>& memory) {
  Record<kWords> words;
  for (size_t i = 0; i < kWords; ++i) words[i] = std::atomic_ref(memory[i]).load(std::memory_order_acquire);
  if (words.back() != checkOf(words)) return std::nullopt;
  return words;
}

}  // namespace exo::transport::verbs
