// Where models come from and where they are kept, as the environment says: the variables of Hugging Face's own tools, so
// that both share their files.
#pragma once

#include <filesystem>
#include <string>

#include "ir/base/result.h"

namespace exo::hub {

struct Environment {
  std::string endpoint;             // HF_ENDPOINT, else the public hub; without a slash at the end
  std::string token;                // HF_TOKEN, else the file HF_TOKEN_PATH, else $HF_HOME/token; empty: none
  std::filesystem::path cache;      // HF_HUB_CACHE, HUGGINGFACE_HUB_CACHE, $HF_HOME/hub, $XDG_CACHE_HOME/huggingface/hub, ~/.cache/…
  bool offline = false;             // HF_HUB_OFFLINE: 1, ON, YES or TRUE in any case

  /// Error kInvalidInput where HF_ENDPOINT is no http(s) address, or no cache folder can be named.
  static Result<Environment> read();
};

}  // namespace exo::hub
