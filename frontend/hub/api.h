// The part of the hub's HTTP interface that a download needs.
#pragma once

#include <string>
#include <vector>

#include "frontend/hub/environment.h"
#include "frontend/hub/http_client.h"
#include "frontend/hub/repository.h"
#include "ir/base/result.h"

namespace exo::hub {

/// The commit that the repository's revision means now. GET /api/models/ID/revision/REVISION.
Result<std::string> resolveCommit(HttpClient& http, const Environment& environment, const Repository& repository);

/// All files of a commit, by path. GET /api/models/ID/tree/COMMIT?recursive=true, following the pages' Link headers.
Result<std::vector<RemoteFile>> listFiles(HttpClient& http, const Environment& environment, const Repository& repository, const std::string& commit);

/// Where a file's bytes are.
std::string fileUrl(const Environment& environment, const Repository& repository, const std::string& commit, const RemoteFile& file);

}  // namespace exo::hub
