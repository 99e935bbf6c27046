// Compiled objects on disk. One file per object, named by the hash of its key; the file repeats the key and carries a checksum,
// so a damaged file reads as a miss, and so does one that another user owns or could write to. Writes go to a temporary file
// that is renamed: readers never see half a file.
#pragma once

#include <optional>
#include <string>

namespace exo::codegen {

class ObjectCache {
 public:
  /// An empty directory name means no cache. The directory is created on the first write.
  explicit ObjectCache(std::string directory) : directory_(std::move(directory)) {}

  std::optional<std::string> load(const std::string& key) const;
  /// Best effort: a cache that cannot be written costs time, not correctness.
  void store(const std::string& key, const std::string& object) const;
  std::string path(const std::string& key) const;

 private:
  std::string directory_;
};

}  // namespace exo::codegen
