// Who may ask. Browsers send requests for any page that is open, so Origin and Host are checked even on loopback: a page of
// another origin must not read answers, and a name that an attacker resolves to this machine (DNS rebinding) must not pass as ours.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "executor/serve/http/message.h"

namespace exo::serve::http {

struct AccessRules {
  std::vector<std::string> keys;      // any of them; empty: no key is asked for
  std::vector<std::string> origins;   // beside the server's own: "https://chat.example", "*": all
  std::vector<std::string> hosts;     // names by which clients may call the server, beside localhost and addresses; "*": all
};

/// One key per line; empty lines and lines that begin with # are skipped. At least one key, each of at least 8 bytes.
Result<std::vector<std::string>> readKeys(const std::filesystem::path& file);

enum class Access { kAllowed, kBadHost, kBadOrigin, kNoKey, kBadKey };
const char* explain(Access access);

/// Host and Origin.
Access checkBrowser(const AccessRules& rules, const Request& head);
/// "Authorization: Bearer KEY" or "X-Api-Key: KEY".
Access checkKey(const AccessRules& rules, const Request& head);

/// What lets a page of an allowed origin read the answer; nothing where there is no Origin.
Headers corsHeaders(const Request& head);
/// To OPTIONS.
Response preflight(const Request& head);

}  // namespace exo::serve::http
