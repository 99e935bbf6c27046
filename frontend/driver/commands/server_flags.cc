#include "frontend/driver/commands/server_flags.h"

#include <gflags/gflags.h>

#include "executor/serve/http/access.h"

DEFINE_string(server, "http://127.0.0.1:52415", "the running server to talk to");
DECLARE_string(api_key_file);

namespace exo {

std::vector<std::string> serverClientFlags() { return {"server", "api_key_file"}; }

Result<ServerClient> serverFromFlags() {
  if (FLAGS_api_key_file.empty()) return ServerClient::create(FLAGS_server, "");
  EXO_ASSIGN(const std::vector<std::string> keys, serve::http::readKeys(FLAGS_api_key_file));
  return ServerClient::create(FLAGS_server, keys[0]);
}

}  // namespace exo
