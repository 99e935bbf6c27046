// A checksum against damage, not against an attacker: fast enough to read gigabytes at the speed of memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace exo {

/// Eight independent lanes over 64-bit words, lane = rotate(lane + word * odd) * odd, as in xxHash64. Every step is a
/// bijection of its lane and of its word, so a change inside any one word of eight bytes is always found; other damage is
/// missed by chance alone.
/// Words are as they lie in memory: files with it are for hosts of one byte order.
uint64_t checksum(std::span<const std::byte> bytes);

}  // namespace exo
