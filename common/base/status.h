// Run-time failures: I/O, RPC, input, configuration. Programmer errors are CHECK (glog) or DCHECK.
//
// Status is absl::Status with the canonical gRPC codes; Result<T> is absl::StatusOr<T>. Codes say
// who retries:
//   Unavailable, DeadlineExceeded  the same call     Aborted   the whole step
//   FailedPrecondition             nobody, until the state is mended
//   InvalidArgument, NotFound      the user: configuration or data (exit code 2)
//   DataLoss                       stop and report: damaged or missing stored bytes (exit code 3)
//   Internal                       a bug of ours
// No exception crosses a function of ours.
#pragma once

#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/base/str_cat.h"

namespace cairn {

using Status = absl::Status;
template <typename T>
using Result = absl::StatusOr<T>;

inline Status OkStatus() { return absl::OkStatus(); }

// Same code, message "context: message". OK stays OK.
Status Annotate(const Status& status, std::string_view context);

// Process exit code for an error, as docs/cli.md lists them: 2 configuration or data, 3 integrity,
// 4 refused, 138 peer, disk or time-out (try again), 1 anything else; 0 for OK.
int ExitCodeOf(const Status& status);

}  // namespace cairn

#define CAIRN_CONCAT_INNER(a, b) a##b
#define CAIRN_CONCAT(a, b) CAIRN_CONCAT_INNER(a, b)

// RETURN_IF_ERROR(expr) or RETURN_IF_ERROR(expr, "while doing x on ", shard): context is only built
// on failure.
#define RETURN_IF_ERROR(expr, ...)                                              \
  do {                                                                          \
    if (::cairn::Status cairn_status = (expr); !cairn_status.ok()) [[unlikely]] \
      return ::cairn::Annotate(cairn_status, ::cairn::StrCat(__VA_ARGS__));     \
  } while (false)

// ASSIGN_OR_RETURN(auto x, expr) or ASSIGN_OR_RETURN(auto x, expr, "context ", more).
#define ASSIGN_OR_RETURN(lhs, expr, ...)                                          \
  CAIRN_ASSIGN_OR_RETURN_IMPL(CAIRN_CONCAT(cairn_result_, __LINE__), lhs, (expr), \
                              ::cairn::StrCat(__VA_ARGS__))
#define CAIRN_ASSIGN_OR_RETURN_IMPL(result, lhs, expr, context) \
  auto result = expr;                                           \
  if (!result.ok()) [[unlikely]]                                \
    return ::cairn::Annotate(result.status(), context);         \
  lhs = std::move(result).value()
