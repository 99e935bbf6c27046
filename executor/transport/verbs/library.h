// libibverbs, found at run time: one binary runs where there is no such library or no device, and says so.
// Only its exported functions are here; what verbs.h defines inline (posting, polling) calls the driver directly.
#pragma once

#include <infiniband/verbs.h>

#include "ir/base/result.h"

namespace exo::transport::verbs {

#define EXO_VERBS_FUNCTIONS(X)                                                                                      \
  X(get_device_list) X(free_device_list) X(get_device_name) X(open_device) X(close_device) X(query_device)          \
  X(query_port) X(query_gid) X(alloc_pd) X(dealloc_pd) X(reg_mr) X(dereg_mr) X(create_cq) X(destroy_cq)             \
  X(create_qp) X(modify_qp) X(destroy_qp) X(get_async_event) X(ack_async_event) X(wc_status_str) X(event_type_str)

struct Library {
#define EXO_VERBS_POINTER(name) decltype(&::ibv_##name) name = nullptr;
  EXO_VERBS_FUNCTIONS(EXO_VERBS_POINTER)
#undef EXO_VERBS_POINTER
};

/// Loaded at the first call and kept. kNotFound with the loader's words. Threads: any.
Result<const Library*> library();

}  // namespace exo::transport::verbs
