# Makes OUT, a C header with the bytes of IN as `static const unsigned char NAME[]`, terminated.
file(READ "${IN}" hex HEX)
string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${hex}")
string(REGEX REPLACE "(0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,)" "\\1\n" bytes "${bytes}")
file(WRITE "${OUT}" "/* Made from ${NAME} by tools/embed.cmake. */\n#pragma once\nstatic const unsigned char ${NAME}[] = {\n${bytes}0};\n")
