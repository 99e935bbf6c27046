// The name of a model on the hub, and what its files are called there. Names come from users and from servers: none may
// lead out of the folder it is put in.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "ir/base/result.h"

namespace exo::hub {

/// "org/name", with ":variant" (of a GGUF repository: "Q4_K_M") and "@revision" (branch, tag or commit) where wanted.
struct Repository {
  std::string owner, name;
  std::string variant;              // empty: not said
  std::string revision = "main";

  std::string id() const { return owner + "/" + name; }
};

/// Nothing when `text` cannot be one (it has no, or several, slashes, or other characters than hub names have).
std::optional<Repository> parseRepository(const std::string& text);

/// A file of a repository at one commit.
struct RemoteFile {
  std::string path;                 // relative, with '/'; checked by checkPath
  uint64_t size_bytes = 0;
  std::string digest;               // hexadecimal; what the cache names the content by
  enum class Kind { kSha256, kGitBlob } kind = Kind::kSha256;   // of 64 or of 40 digits; a git blob is sha1("blob SIZE\0" + content)
};

/// Relative, no part "", "." or "..", no control character or backslash, at most 1024 bytes.
Status checkPath(const std::string& path);

/// So many lower-case hexadecimal digits.
bool isHex(const std::string& text, size_t digits);

}  // namespace exo::hub
