#include "executor/transport/session.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>

#include <bit>
#include <cstring>
#include <string_view>
#include <type_traits>
#include <vector>

namespace exo::transport {
namespace {

constexpr uint64_t kMagic = 0x006b6e696c6f7865;  // "exolink\0"
constexpr uint64_t kVersion = 2;

static_assert(std::endian::native == std::endian::little, "messages lie in memory as they travel");
static_assert(std::has_unique_object_representations_v<Hello>);
static_assert(std::has_unique_object_representations_v<Challenge>);

void append(std::vector<uint8_t>& out, const void* data, size_t size) {
  const auto* bytes = static_cast<const uint8_t*>(data);
  out.insert(out.end(), bytes, bytes + size);
}

/// Everything both sides said so far, under a label per direction, so that no message can be reflected as another.
Mac transcriptMac(const SessionKey& key, std::string_view label, const Hello& hello, Challenge challenge,
                  std::span<const std::byte> message = {}) {
  challenge.mac = {};
  std::vector<uint8_t> transcript;
  append(transcript, label.data(), label.size());
  append(transcript, &hello, sizeof(hello));
  append(transcript, &challenge, sizeof(challenge));
  append(transcript, message.data(), message.size());
  Mac mac = {};
  unsigned length = 0;
  const unsigned char* done = HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()), transcript.data(),
                                   transcript.size(), mac.data(), &length);
  EXO_CHECK(done != nullptr && length == mac.size()) << "HMAC-SHA256 is unavailable";
  return mac;
}

template <class... Parts>
Error mismatch(const Parts&... parts) {
  return makeError(ErrorCode::kMismatch, ErrorScope::kLink, parts...);
}

Status randomNonce(Nonce& nonce) {
  if (RAND_bytes(nonce.data(), static_cast<int>(nonce.size())) != 1)
    return makeError(ErrorCode::kIo, "no random bytes from OpenSSL");
  return {};
}

}  // namespace

bool equal(const Mac& a, const Mac& b) { return CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0; }

std::string describe(Refusal refusal, const Claims& claims, uint64_t detail) {
  const auto pair = [&](const char* noun, uint64_t here) {
    return std::string(noun) + " " + std::to_string(here) + ", there " + std::to_string(detail);
  };
  switch (refusal) {
    case Refusal::kNone: return "nothing";
    case Refusal::kVersion: return pair("protocol version", kVersion);
    case Refusal::kListenerRank: return pair("dialled rank", claims.listener_rank);
    case Refusal::kDialerRank: return "rank " + std::to_string(claims.dialer_rank) + " is not awaited there (or already linked)";
    case Refusal::kWorld: return pair("world size", claims.world);
    case Refusal::kEpoch: return pair("epoch", claims.epoch);
    case Refusal::kKind: return std::string("transport ") + name(static_cast<Kind>(claims.kind)) + " is not accepted there";
    case Refusal::kSlotBytes: return pair("slot_bytes", claims.slot_bytes);
    case Refusal::kNumSlots: return pair("num_slots", claims.num_slots);
  }
  return "for a reason unknown here (" + std::to_string(static_cast<uint64_t>(refusal)) + ")";
}

Result<Hello> makeHello(const Claims& claims) {
  Hello hello{kMagic, kVersion, claims, {}};
  EXO_TRY(randomNonce(hello.nonce));
  return hello;
}

Status checkHello(const Hello& hello) {
  if (hello.magic != kMagic) return mismatch("not a rank: its first bytes are not a hello");
  if (hello.version != kVersion) return mismatch("protocol version ", kVersion, " expected, got ", hello.version);
  return {};
}

Result<Challenge> makeChallenge(const SessionKey& key, const Hello& hello, Refusal refusal, uint64_t detail) {
  Challenge challenge{kMagic, static_cast<uint64_t>(refusal), detail, {}, {}};
  EXO_TRY(randomNonce(challenge.nonce));
  challenge.mac = transcriptMac(key, "exo listener", hello, challenge);
  return challenge;
}

Status checkChallenge(const SessionKey& key, const Hello& hello, const Challenge& challenge) {
  if (challenge.magic != kMagic) return mismatch("not a rank: it does not speak this protocol");
  if (!equal(challenge.mac, transcriptMac(key, "exo listener", hello, challenge)))
    return mismatch("the session keys differ: the listener could not prove that it has ours");
  if (challenge.refusal != 0)
    return mismatch("refused: ", describe(static_cast<Refusal>(challenge.refusal), hello.claims, challenge.detail));
  return {};
}

Proof makeProof(const SessionKey& key, const Hello& hello, const Challenge& challenge) {
  return {transcriptMac(key, "exo dialer", hello, challenge)};
}

Status checkProof(const SessionKey& key, const Hello& hello, const Challenge& challenge, const Proof& proof) {
  if (!equal(proof.mac, makeProof(key, hello, challenge).mac))
    return mismatch("the session keys differ: the dialer could not prove that it has ours");
  return {};
}

Accept makeAccept(const SessionKey& key, const Hello& hello, const Challenge& challenge) {
  return {transcriptMac(key, "exo accept", hello, challenge)};
}

Status checkAccept(const SessionKey& key, const Hello& hello, const Challenge& challenge, const Accept& accept) {
  if (!equal(accept.mac, makeAccept(key, hello, challenge).mac)) return mismatch("the listener's acceptance is forged");
  return {};
}

Mac macOf(const SessionKey& key, const Hello& hello, const Challenge& challenge, std::string_view label, std::span<const std::byte> message) {
  return transcriptMac(key, label, hello, challenge, message);
}

}  // namespace exo::transport
