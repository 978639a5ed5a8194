// SPDX-License-Identifier: MIT
#pragma once

#include <memory>
#include <type_traits>
#include <utility>

#include "vmcache/export.hpp"

namespace VMCACHE_EXPORT vmcache {

//! Refers to a callable that another object owns and that outlives the reference. (std::function
//! would copy the callable, and allocate.)
template <typename Signature>
class FunctionRef;

template <typename Result, typename... Args>
class FunctionRef<Result(Args...)> {
 public:
  // clang-format does not know `requires`.
  // clang-format off
  template <typename F>
    requires(!std::is_same_v<std::remove_cvref_t<F>, FunctionRef> &&
             std::is_invocable_r_v<Result, F&, Args...>)
  FunctionRef(F&& function) noexcept  // NOLINT: meant to convert
      : _object(const_cast<void*>(static_cast<const void*>(std::addressof(function)))),
        _call([](void* object, Args... args) -> Result {
          return (*static_cast<std::remove_reference_t<F>*>(object))(std::forward<Args>(args)...);
        }) {}
  // clang-format on

  Result operator()(Args... args) const { return _call(_object, std::forward<Args>(args)...); }

 private:
  void* _object;
  Result (*_call)(void*, Args...);
};

}  // namespace vmcache
