// The digests by which the hub names contents, computed while bytes go by.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>

#include "frontend/hub/repository.h"

namespace exo::hub {

class Digest {
 public:
  /// Of a file of `size_bytes`, which a git blob's digest begins with.
  Digest(RemoteFile::Kind kind, uint64_t size_bytes);
  Digest(Digest&&) noexcept;
  Digest& operator=(Digest&&) noexcept;
  ~Digest();

  void add(std::span<const std::byte> bytes);
  /// Hexadecimal; the last call.
  std::string finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace exo::hub
