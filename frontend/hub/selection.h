// Which of a repository's files a model needs here.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "frontend/hub/repository.h"
#include "ir/base/result.h"

namespace exo::hub {

/// safetensors: the weights at the top ("model…" where there are such; other programs' copies beside them stay out), configuration,
/// tokenizer and templates. With a variant, or where there are no safetensors: the GGUF files of that variant ("Q4_K_M"; all
/// parts of a split one), which hold everything.
/// Errors: kNotFound when there are neither, or no such variant, naming those there are.
Result<std::vector<RemoteFile>> selectFiles(const std::vector<RemoteFile>& files, const Repository& repository);

/// What to open of a snapshot: the folder itself, or its GGUF file of the variant (the first part of a split one).
/// Error kNotFound as above.
Result<std::filesystem::path> modelInSnapshot(const std::filesystem::path& snapshot, const Repository& repository);

}  // namespace exo::hub
