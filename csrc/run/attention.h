// Multi-head attention over sequences of any lengths.
#ifndef SQZ_RUN_ATTENTION_H_
#define SQZ_RUN_ATTENTION_H_

#include <stdint.h>

#include "squeezeops/squeezeops.h"

namespace sqz {

using AttentionArgs = sqz_attention_f32_args;
using AttentionS8Args = sqz_attention_s8_args;

// No other thread may change the offsets during the call.
sqz_status run_attention(const AttentionArgs &args);
sqz_status run_attention(const AttentionS8Args &args);

}  // namespace sqz

#endif  // SQZ_RUN_ATTENTION_H_
