// SPDX-License-Identifier: MIT
//
// What the shared library exports. It is built with hidden visibility. A public header opens its
// namespace as
//
//   namespace VMCACHE_EXPORT vmcache {
//
// which exports everything that this block declares: the documented API, and the parts of
// vmcache::detail and vmcache::btree that inline code in the headers needs. The library's own
// headers do not say so, and export nothing. A class of theirs that a public header only names was
// declared in such a block, and says VMCACHE_LOCAL where it is defined.
#pragma once

#define VMCACHE_EXPORT [[gnu::visibility("default")]]
#define VMCACHE_LOCAL [[gnu::visibility("hidden")]]
