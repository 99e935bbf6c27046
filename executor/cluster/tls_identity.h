// A cluster secret turned into TLS keys. Everyone who knows the secret derives the same certificate authority:
//   scalar of the P-256 CA key = 1 + HKDF-SHA256(secret, salt "exo cluster ca", info "p256 scalar", 48 bytes) mod (n - 1)
// (48 bytes, so that the bias of the reduction is below 2^-64: FIPS 186-5, A.2.1) and signs a leaf certificate for itself,
// with a random key, in memory only. Certificates never expire in practice: the clocks of small machines are often wrong,
// and the secret, not time, is what ends a cluster's trust.
#pragma once

#include <string>
#include <string_view>

#include "ir/base/result.h"

namespace exo::cluster {

/// The name in every leaf certificate; clients expect it whatever address they dialed.
inline constexpr const char* kTlsName = "exo-node";

/// PEM texts.
struct TlsIdentity {
  std::string ca_certificate;
  std::string certificate;
  std::string private_key;
};

/// Error kIo with OpenSSL's reason; the secret's length is the caller's business.
Result<TlsIdentity> makeTlsIdentity(std::string_view secret);

}  // namespace exo::cluster
