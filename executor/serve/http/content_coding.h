// Undoes the Content-Encoding of request bodies. Clients are untrusted: what comes out is bounded.
#pragma once

#include <string>
#include <string_view>

#include "ir/base/result.h"

namespace exo::serve::http {

/// `codings`: the header's value, gzip, deflate, zstd and identity in any order. Errors: kUnsupported for another coding,
/// kDoesNotFit for more than `max_bytes`, kInvalidInput for broken data.
Result<std::string> decodeContent(std::string body, std::string_view codings, size_t max_bytes);

}  // namespace exo::serve::http
