// Files of a cache: what another user could have put there is not read, and what is written only this user can change.
#pragma once

#include <filesystem>
#include <string>

#include "ir/base/file_descriptor.h"
#include "ir/base/result.h"

namespace exo {

/// $XDG_CACHE_HOME/exo or ~/.cache/exo; empty where the environment names neither.
std::string userCacheDirectory();

/// Opens a regular file that belongs to this user and that nobody else may write; the last part of the path may not be a
/// symbolic link. `flags` as of open(2); files it creates have mode 0600. Errors: kNotFound; kIo saying what is wrong.
Result<FileDescriptor> openOwnedFile(const std::filesystem::path& path, int flags);

/// Creates the directory, mode 0700, and those above it. Error kIo when it cannot be made, belongs to another user, or
/// others may write to it.
Status makeOwnedDirectory(const std::filesystem::path& path);

}  // namespace exo
