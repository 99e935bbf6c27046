#include "executor/transport/verbs/library.h"

#include <dlfcn.h>

namespace exo::transport::verbs {
namespace {

Result<Library> load() {
  void* handle = dlopen("libibverbs.so.1", RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) return makeError(ErrorCode::kNotFound, "no verbs library: ", dlerror());
  Library out;
#define EXO_VERBS_LOOK_UP(name)                                                                        \
  out.name = reinterpret_cast<decltype(out.name)>(dlsym(handle, "ibv_" #name));                        \
  if (out.name == nullptr) return makeError(ErrorCode::kNotFound, "libibverbs.so.1 has no ibv_" #name);
  EXO_VERBS_FUNCTIONS(EXO_VERBS_LOOK_UP)
#undef EXO_VERBS_LOOK_UP
  return out;
}

}  // namespace

Result<const Library*> library() {
  static const Result<Library> loaded = load();
  if (!loaded.ok()) return loaded.error();
  return &loaded.value();
}

}  // namespace exo::transport::verbs
