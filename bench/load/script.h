// The visits of a load, from a seed.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "bench/load/visit.h"

namespace exo::load {

/// Of answers: lengths are drawn evenly from [half, one and a half], pauses from an exponential distribution, so that arrivals are a Poisson
/// process as far as the server lets them.
struct AnswerScript {
  std::string model;
  int64_t prompt_tokens = 64, answer_tokens = 48;   // means
  Seconds pause{0.2};                               // mean
};

/// `count` visits of client `number`. The prompts of all clients and visits differ from their first token on: nothing kept of one helps another.
Client answering(const AnswerScript& script, uint64_t seed, int number, int count);

/// Clients that leave: in the middle of their request, at once, or after some pieces; in order or with a reset.
Client aborting(const AnswerScript& script, uint64_t seed, int number, int count);

/// Clients that do not read for `read_pause` after the head of an answer.
Client slow(const AnswerScript& script, Seconds read_pause, uint64_t seed, int number, int count);

/// What is no request, or none of ours: syntax, framing, encodings, types and values.
Client malformed(const AnswerScript& script, uint64_t seed, int number, int count);

/// GET /health after a pause.
Visit watching(Seconds pause);

}  // namespace exo::load
