// The one version number: of the binaries, the plans they write, and the protocol between nodes.
#pragma once

namespace exo {
inline constexpr const char* kVersion = "0.1.0";
}  // namespace exo
