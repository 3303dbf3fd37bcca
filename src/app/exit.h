/* exit -- the program's exit codes: what scripts and service managers may rely on.  Numbers follow
 * sysexits.h where it has a fitting one.  Documented in README.md. */
#pragma once

enum exit_code {
    EXIT_CODE_OK = 0,
    EXIT_CODE_FAILED = 1, /* anything without a code of its own */
    EXIT_CODE_USAGE = 64, /* unknown verb or option, bad value of a flag or variable */
    EXIT_CODE_MODEL_DAMAGED = 65,
    EXIT_CODE_MODEL_MISSING = 66,
    EXIT_CODE_NO_SERVER = 69, /* status, stop: nothing answers */
    EXIT_CODE_INTERNAL = 70,
    EXIT_CODE_NO_MEMORY = 71, /* model and window do not fit */
    EXIT_CODE_PORT_TAKEN = 73,
    EXIT_CODE_IO = 74,              /* download or disk */
    EXIT_CODE_LOW_MEMORY_STOP = 75, /* stopped itself before the system ran out; may be restarted */
    EXIT_CODE_FORBIDDEN = 77,       /* wrong key, or an address that needs a key of its own */
    EXIT_CODE_SETTINGS = 78,        /* the settings file, or settings that exclude each other */
};
