// A content on its way into the cache: DIGEST.incomplete beside the blob it will be. A later download goes on where this one ended.
#pragma once

#include <filesystem>
#include <functional>

#include "frontend/hub/digest.h"
#include "frontend/hub/http_client.h"
#include "ir/base/file_descriptor.h"

namespace exo::hub {

class IncompleteFile : public ByteSink {
 public:
  /// Opens BLOB.incomplete, or creates it, and reads what is there. `on_bytes` is told what each change adds to the position,
  /// the bytes found first; a restart takes away.
  static Result<IncompleteFile> open(std::filesystem::path blob, const RemoteFile& file, std::function<void(int64_t)> on_bytes);

  uint64_t position() const override { return position_; }
  Status restart() override;
  Status write(std::span<const std::byte> bytes) override;

  /// When all bytes are there: checks the digest and makes the file the blob, on disk. Error kMismatch: another content than the
  /// hub says; the bytes are dropped then.
  Status commit();

 private:
  IncompleteFile(std::filesystem::path blob, const RemoteFile& file, FileDescriptor fd, std::function<void(int64_t)> on_bytes);
  Status readWhatIsThere();
  Error systemError(const char* what) const;

  std::filesystem::path blob_;
  RemoteFile file_;
  FileDescriptor fd_;
  Digest digest_;
  uint64_t position_ = 0;
  std::function<void(int64_t)> on_bytes_;
};

}  // namespace exo::hub
