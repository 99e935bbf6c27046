#include "executor/transport/transport.h"

namespace exo::transport {

const char* name(Kind kind) {
  switch (kind) {
    case Kind::kShm: return "shm";
    case Kind::kTcp: return "tcp";
    case Kind::kSimulated: return "simulated";
    case Kind::kVerbs: return "verbs";
  }
  return "?";
}

Status validate(const RingShape& ring) {
  constexpr size_t kMinBytes = 256, kMaxBytes = size_t{64} << 20, kMaxSlots = 1024;
  if (ring.slot_bytes < kMinBytes || ring.slot_bytes > kMaxBytes || ring.slot_bytes % 64 != 0)
    return invalid("slot_bytes must be a multiple of 64 in [", kMinBytes, ", ", kMaxBytes, "], got ", ring.slot_bytes);
  if (ring.num_slots < 1 || ring.num_slots > kMaxSlots)
    return invalid("num_slots must be in [1, ", kMaxSlots, "], got ", ring.num_slots);
  return {};
}

}  // namespace exo::transport
