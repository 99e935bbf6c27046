// What both ends of a link prove to each other: knowledge of the session's key, by HMAC-SHA256 over both sides' nonces
// and everything they claim (ranks, world, epoch, ring, transport). The key itself never travels.
//
//   dialer                         listener
//   Hello {claims, nonce}    ──►
//                            ◄──   Challenge {verdict, nonce, mac("listener", hello, challenge)}
//   Proof {mac("dialer", …)} ──►   (with the memory's descriptor, for shm)
//                            ◄──   Accept {mac("accept", …)}
//
// Fixed sizes, little endian, checked field by field. Frames that follow are neither encrypted nor authenticated: the key
// keeps strangers from joining, it does not hide tensors on the wire.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "executor/transport/transport.h"
#include "ir/base/result.h"

namespace exo::transport {

/// Which end of a link.
enum class End { kDialer, kListener };

using SessionKey = std::array<uint8_t, 32>;
using Nonce = std::array<uint8_t, 32>;
using Mac = std::array<uint8_t, 32>;

/// What the dialer says about itself and the link it wants.
struct Claims {
  uint32_t dialer_rank = 0;
  uint32_t listener_rank = 0;
  uint32_t world = 0;
  uint32_t kind = 0;  // Kind
  uint64_t epoch = 0;
  uint64_t slot_bytes = 0;
  uint64_t num_slots = 0;
};

/// On the wire as they are here (checked for holes in session.cc).
struct Hello {
  uint64_t magic = 0;
  uint64_t version = 0;
  Claims claims;
  Nonce nonce = {};
};
struct Challenge {
  uint64_t magic = 0;
  uint64_t refusal = 0;  // Refusal
  uint64_t detail = 0;   // what the listener has instead
  Nonce nonce = {};
  Mac mac = {};
};
struct Proof {
  Mac mac = {};
};
struct Accept {
  Mac mac = {};
};

enum class Refusal : uint64_t { kNone, kVersion, kListenerRank, kDialerRank, kWorld, kEpoch, kKind, kSlotBytes, kNumSlots };
/// "epoch 7, there 8"
std::string describe(Refusal refusal, const Claims& claims, uint64_t detail);

/// Errors: kIo when the system has no randomness.
Result<Hello> makeHello(const Claims& claims);
/// kMismatch: not our protocol.
Status checkHello(const Hello& hello);
Result<Challenge> makeChallenge(const SessionKey& key, const Hello& hello, Refusal refusal, uint64_t detail);
/// kMismatch: the listener does not know the key, or knows it and refuses (saying why).
Status checkChallenge(const SessionKey& key, const Hello& hello, const Challenge& challenge);
Proof makeProof(const SessionKey& key, const Hello& hello, const Challenge& challenge);
Status checkProof(const SessionKey& key, const Hello& hello, const Challenge& challenge, const Proof& proof);
Accept makeAccept(const SessionKey& key, const Hello& hello, const Challenge& challenge);
Status checkAccept(const SessionKey& key, const Hello& hello, const Challenge& challenge, const Accept& accept);
/// In a time that does not depend on where they differ.
bool equal(const Mac& a, const Mac& b);
/// Of what both say later on the same connection; `label` differs by direction.
Mac macOf(const SessionKey& key, const Hello& hello, const Challenge& challenge, std::string_view label, std::span<const std::byte> message);

}  // namespace exo::transport
