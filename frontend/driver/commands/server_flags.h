// How commands find the running server that they talk to.
#pragma once

#include <string>
#include <vector>

#include "frontend/driver/server/server_client.h"

namespace exo {

/// --server, --api_key_file.
std::vector<std::string> serverClientFlags();
/// Errors: not an address, a file of keys that cannot be read.
Result<ServerClient> serverFromFlags();

}  // namespace exo
