// The cache that Hugging Face's tools share (their "hub cache" format):
//   models--ORG--NAME/refs/REVISION                 the commit a branch or tag meant when it was last asked
//   models--ORG--NAME/snapshots/COMMIT/PATH         symbolic links, relative, to
//   models--ORG--NAME/blobs/DIGEST                  contents; DIGEST.incomplete while they come
//   .locks/models--ORG--NAME/DIGEST.lock            held (flock) by whoever downloads it
#pragma once

#include <atomic>
#include <filesystem>
#include <optional>
#include <string>

#include "frontend/hub/repository.h"
#include "ir/base/file_descriptor.h"
#include "ir/base/result.h"

namespace exo::hub {

class Cache {
 public:
  Cache(std::filesystem::path folder, const Repository& repository);

  /// The folder of the revision's files, as far as they were downloaded; nothing where the revision is not known here.
  std::optional<std::filesystem::path> snapshot(const std::string& revision) const;

  /// Creates the folders that downloads need.
  Status prepare(const std::string& commit) const;
  std::filesystem::path blob(const RemoteFile& file) const { return folder_ / "blobs" / file.digest; }
  /// The file is there, whole as far as its size says, and linked from the snapshot.
  bool has(const std::string& commit, const RemoteFile& file) const;
  /// Links a blob that is there into the snapshot.
  Status link(const std::string& commit, const RemoteFile& file) const;
  /// From now on, `revision` means `commit`. Nothing for a commit itself.
  Status setRevision(const std::string& revision, const std::string& commit) const;

  /// Waits until no other process downloads this content, as long as its file grows. Errors: kTimeout after a minute without a
  /// byte; kCancelled; kIo.
  Result<FileDescriptor> lock(const RemoteFile& file, const std::atomic<bool>* cancel) const;

 private:
  std::filesystem::path folder_, locks_;
};

}  // namespace exo::hub
