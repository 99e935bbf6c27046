#include "frontend/hub/digest.h"

#include <openssl/evp.h>

#include <array>

namespace exo::hub {

struct Digest::State {
  EVP_MD_CTX* context = EVP_MD_CTX_new();
  ~State() { EVP_MD_CTX_free(context); }
};

Digest::Digest(RemoteFile::Kind kind, uint64_t size_bytes) : state_(std::make_unique<State>()) {
  const EVP_MD* algorithm = kind == RemoteFile::Kind::kSha256 ? EVP_sha256() : EVP_sha1();
  EXO_CHECK(state_->context != nullptr && EVP_DigestInit_ex(state_->context, algorithm, nullptr) == 1) << "OpenSSL has no such digest";
  if (kind != RemoteFile::Kind::kGitBlob) return;
  const std::string head = "blob " + std::to_string(size_bytes) + '\0';
  add(std::as_bytes(std::span(head)));
}

Digest::Digest(Digest&&) noexcept = default;
Digest& Digest::operator=(Digest&&) noexcept = default;
Digest::~Digest() = default;

void Digest::add(std::span<const std::byte> bytes) {
  EXO_CHECK(EVP_DigestUpdate(state_->context, bytes.data(), bytes.size()) == 1) << "out of memory";
}

std::string Digest::finish() {
  std::array<unsigned char, EVP_MAX_MD_SIZE> bytes;
  unsigned size = 0;
  EXO_CHECK(EVP_DigestFinal_ex(state_->context, bytes.data(), &size) == 1) << "out of memory";
  std::string text;
  for (unsigned i = 0; i < size; ++i) {
    text += "0123456789abcdef"[bytes[i] >> 4];
    text += "0123456789abcdef"[bytes[i] & 15];
  }
  return text;
}

}  // namespace exo::hub
