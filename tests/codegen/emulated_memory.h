// Where the memory lies that a test shares with the process it emulates: far from what either puts there by itself.
#pragma once

#include <cstddef>
#include <cstdint>

constexpr uintptr_t kSharedAddress = 0x200000000000;
constexpr size_t kSharedBytes = size_t{1} << 30;
constexpr int kSharedFile = 3;  // its descriptor in the emulated process
