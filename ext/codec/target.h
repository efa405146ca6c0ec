/* TARGET_PUSH("avx2") ... TARGET_POP: the functions between them are compiled for a CPU that has the named features.
 *
 * GCC has a pragma with a stack of options, Clang an attribute that it gives to all functions of a stretch.
 */
#ifndef TSENGINE_CODEC_TARGET_H
#define TSENGINE_CODEC_TARGET_H

#define TARGET_PRAGMA(text) _Pragma(#text)
#ifdef __clang__
#define TARGET_PUSH(features) TARGET_PRAGMA(clang attribute push(__attribute__((target(features))), apply_to = function))
#define TARGET_POP TARGET_PRAGMA(clang attribute pop)
#else
#define TARGET_PUSH(features) TARGET_PRAGMA(GCC push_options) TARGET_PRAGMA(GCC target(features))
#define TARGET_POP TARGET_PRAGMA(GCC pop_options)
#endif

#endif
