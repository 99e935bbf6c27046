// Devices of this host, opened, and their usable ports.
// Threads: a Device from any; the rest is plain data.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "executor/transport/verbs/library.h"
#include "executor/transport/verbs/path.h"
#include "ir/base/result.h"

namespace exo::transport::verbs {

/// An opened device with a protection domain. Objects made of it (queue pairs, memory regions) keep it by shared_ptr.
class Device {
 public:
  static Result<std::shared_ptr<Device>> open(const Library& library, ibv_device* device);
  ~Device();
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  const Library& library() const { return library_; }
  const std::string& name() const { return name_; }
  ibv_context* context() const { return context_; }
  ibv_pd* domain() const { return domain_; }
  const ibv_device_attr& attributes() const { return attributes_; }

  /// What the device has reported so far (removal, a queue pair in error) that ends this queue pair. One system call.
  std::optional<std::string> failureOf(uint32_t queue_number);

 private:
  explicit Device(const Library& library) : library_(library) {}
  void readEvents();

  const Library& library_;
  std::string name_;
  ibv_context* context_ = nullptr;
  ibv_pd* domain_ = nullptr;
  ibv_device_attr attributes_ = {};
  std::mutex mutex_;
  std::optional<std::string> removed_;
  std::map<uint32_t, std::string> failed_queues_;
};

/// An active port of a device by one of its addresses.
struct Port {
  std::shared_ptr<Device> device;
  uint8_t number = 1;
  uint8_t gid_index = 0;
  ibv_mtu mtu = IBV_MTU_256;
  uint32_t max_message_bytes = 0;
  Path path;
};
/// "rxe0 port 1, RoCE v2 10.0.0.1" or "mlx5_0 port 2, InfiniBand LID 7".
std::string text(const Port& port);

/// Active ports, fastest first, at most kMaxPaths. kNotFound with the reason: no library, no device, no active port,
/// no address for RoCE v2.
Result<std::vector<Port>> openPorts(const DeviceChoice& choice);

/// What to tell the peer that we reach by TCP from `local`.
Paths pathsOf(std::span<const Port> ports, const SocketAddress& local);

/// Memory known to a device. `access`: of ibv_access_flags.
class MemoryRegion {
 public:
  static Result<MemoryRegion> registered(std::shared_ptr<Device> device, std::span<std::byte> memory, int access);
  MemoryRegion() = default;
  MemoryRegion(MemoryRegion&& other) noexcept : device_(std::move(other.device_)), region_(std::exchange(other.region_, nullptr)) {}
  MemoryRegion& operator=(MemoryRegion&& other) noexcept {
    std::swap(device_, other.device_);
    std::swap(region_, other.region_);
    return *this;
  }
  ~MemoryRegion();
  uint32_t localKey() const { return region_->lkey; }
  uint32_t remoteKey() const { return region_->rkey; }

 private:
  std::shared_ptr<Device> device_;
  ibv_mr* region_ = nullptr;
};

}  // namespace exo::transport::verbs
