// What the members of one epoch share: the key that data-plane links prove, and where each rank is reached.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

namespace exo::cluster {

struct SessionMember {
  std::string node;
  uint32_t rank = 0;
  std::string data_endpoint;  // transport::Endpoint's text
};

struct Session {
  uint64_t epoch = 0;
  std::array<uint8_t, 32> key = {};
  std::vector<SessionMember> members;  // by rank, all of them
};

}  // namespace exo::cluster
