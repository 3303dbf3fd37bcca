/* templates -- short chat templates of our own in the manner of the well-known families. */
#pragma once

/* ChatML without tools, as many small models have it. */
#define FIXTURE_CHATML                                                                             \
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}"   \
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"

/* Llama 3: contents are trimmed, one call a turn, words beside a call are left out, results are
 * printed as JSON strings. */
#define FIXTURE_LLAMA3                                                                             \
    "{{ '<|begin|>' }}{% for m in messages %}{% if m.tool_calls %}"                                \
    "{% if m.tool_calls|length != 1 %}{{ raise_exception('one call at a time') }}{% endif %}"      \
    "{% set c = m.tool_calls[0].function %}"                                                       \
    "{{ '<|head|>assistant<|/head|>\\n\\n{\"name\": \"' + c.name + '\", \"parameters\": ' }}"      \
    "{{ c.arguments | tojson }}{{ '}<|eot|>' }}"                                                   \
    "{% elif m.role == 'tool' %}"                                                                  \
    "{{ '<|head|>ipython<|/head|>\\n\\n' }}{{ m.content | tojson }}{{ '<|eot|>' }}"                \
    "{% else %}"                                                                                   \
    "{{ '<|head|>' + m.role + '<|/head|>\\n\\n' + m.content | trim }}"                             \
    "{% if loop.first and tools %}{% for t in tools %}{{ '\\n' }}{{ t | tojson }}{% endfor %}"     \
    "{% endif %}{{ '<|eot|>' }}"                                                                   \
    "{% endif %}{% endfor %}"                                                                      \
    "{% if add_generation_prompt %}{{ '<|head|>assistant<|/head|>\\n\\n' }}{% endif %}"

/* Gemma: no system role, strict turns, no tools. */
#define FIXTURE_GEMMA                                                                              \
    "{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}"      \
    "{% for m in messages %}"                                                                      \
    "{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"                                        \
    "{{ raise_exception('turns must alternate') }}{% endif %}"                                     \
    "{{ '<turn>' + ('model' if m.role == 'assistant' else m.role) + '\\n' + m.content | trim + "   \
    "'</turn>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<turn>model\\n' }}{% endif %}"

/* Mistral: the system text goes with the first words of the user, ids are nine letters long. */
#define FIXTURE_MISTRAL                                                                            \
    "{% if messages[0].role == 'system' %}{% set sys = messages[0].content + '\\n\\n' %}"          \
    "{% set rest = messages[1:] %}{% else %}{% set sys = '' %}{% set rest = messages %}{% endif "  \
    "%}"                                                                                           \
    "{% if tools %}{{ '[AVAILABLE_TOOLS]' }}{{ tools | tojson }}{{ '[/AVAILABLE_TOOLS]' }}"        \
    "{% endif %}"                                                                                  \
    "{% for m in rest %}"                                                                          \
    "{% if m.role == 'user' %}"                                                                    \
    "{{ '[INST]' + (sys if loop.first else '') + m.content + '[/INST]' }}"                         \
    "{% elif m.role == 'system' %}{{ raise_exception('system only first') }}"                      \
    "{% elif m.role == 'tool' %}"                                                                  \
    "{% if m.tool_call_id|length != 9 %}{{ raise_exception('nine letters') }}{% endif %}"          \
    "{{ '[TOOL_RESULTS]{\"content\": ' }}{{ m.content }}"                                          \
    "{{ ', \"call_id\": \"' + m.tool_call_id + '\"}[/TOOL_RESULTS]' }}"                            \
    "{% elif m.tool_calls %}{{ m.content }}{{ '[TOOL_CALLS][' }}"                                  \
    "{% for c in m.tool_calls %}"                                                                  \
    "{{ '{\"name\": \"' + c.function.name + '\", \"arguments\": ' }}"                              \
    "{{ c.function.arguments | tojson }}{{ ', \"id\": \"' + c.id + '\"}' }}"                       \
    "{% if not loop.last %}{{ ', ' }}{% endif %}{% endfor %}{{ ']</s>' }}"                         \
    "{% else %}{{ m.content + '</s>' }}{% endif %}{% endfor %}"

/* Qwen 3: reasoning is shown since the user's last words only. */
#define FIXTURE_THINKING                                                                           \
    "{% set ns = namespace(last=-1) %}"                                                            \
    "{% for m in messages %}{% if m.role == 'user' %}{% set ns.last = loop.index0 %}{% endif %}"   \
    "{% endfor %}"                                                                                 \
    "{% if tools %}{{ '<|im_start|>system\\n' }}{% if messages[0].role == 'system' %}"             \
    "{{ messages[0].content + '\\n\\n' }}{% endif %}{{ '<tools>' }}"                               \
    "{% for t in tools %}{{ '\\n' }}{{ t | tojson }}{% endfor %}"                                  \
    "{{ '\\n</tools>\\nCall with <tool_call>\\n{\"name\": ..., \"arguments\": ...}\\n</tool_call>" \
    "<|im_end|>\\n' }}{% endif %}"                                                                 \
    "{% for m in messages %}"                                                                      \
    "{% if m.role == 'system' and loop.first and tools %}"                                         \
    "{% elif m.role == 'tool' %}"                                                                  \
    "{{ '<|im_start|>user\\n<tool_response>\\n' + m.content + '\\n</tool_response><|im_end|>\\n' " \
    "}}"                                                                                           \
    "{% elif m.role == 'assistant' %}"                                                             \
    "{{ '<|im_start|>assistant\\n' }}"                                                             \
    "{% if m.reasoning_content and loop.index0 > ns.last %}"                                       \
    "{{ '<think>\\n' + m.reasoning_content + '\\n</think>\\n\\n' }}{% endif %}{{ m.content }}"     \
    "{% for c in m.tool_calls or [] %}{% if m.content or not loop.first %}{{ '\\n' }}{% endif %}"  \
    "{{ '<tool_call>\\n{\"name\": \"' + c.function.name + '\", \"arguments\": ' }}"                \
    "{{ c.function.arguments | tojson }}{{ '}\\n</tool_call>' }}{% endfor %}"                      \
    "{{ '<|im_end|>\\n' }}"                                                                        \
    "{% else %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{% endif %}"     \
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}"                   \
    "{% if enable_thinking is defined and not enable_thinking %}"                                  \
    "{{ '<think>\\n\\n</think>\\n\\n' }}{% endif %}{% endif %}"

/* Arguments as tags, one each, as coder models write them. */
#define FIXTURE_TAGGED                                                                             \
    "{% if tools %}{{ '<|im_start|>system\\n<tools>' }}{% for t in tools %}{{ '\\n' }}"            \
    "{{ t | tojson }}{% endfor %}{{ '\\n</tools><|im_end|>\\n' }}{% endif %}"                      \
    "{% for m in messages %}"                                                                      \
    "{% if m.role == 'assistant' and m.tool_calls %}"                                              \
    "{{ '<|im_start|>assistant\\n' + m.content }}"                                                 \
    "{% for c in m.tool_calls %}"                                                                  \
    "{{ '\\n<tool_call>\\n<function=' + c.function.name + '>\\n' }}"                               \
    "{% for k, v in c.function.arguments | items %}"                                               \
    "{{ '<parameter=' + k + '>\\n' }}{{ v if v is string else v | tojson }}"                       \
    "{{ '\\n</parameter>\\n' }}{% endfor %}"                                                       \
    "{{ '</function>\\n</tool_call>' }}{% endfor %}{{ '<|im_end|>\\n' }}"                          \
    "{% elif m.role == 'tool' %}"                                                                  \
    "{{ '<|im_start|>user\\n<tool_response>\\n' + m.content + '\\n</tool_response><|im_end|>\\n' " \
    "}}"                                                                                           \
    "{% else %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{% endif %}"     \
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"

/* SmolLM2: ChatML with a system text of its own where none is given; no tools. */
#define FIXTURE_SMOLLM2                                                                            \
    "{% for m in messages %}{% if loop.first and messages[0].role != 'system' %}"                  \
    "{{ '<|im_start|>system\\nYou are small.<|im_end|>\\n' }}{% endif %}"                          \
    "{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>' + '\\n' }}{% endfor %}"         \
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"

/* Phi 3: marks of its own, a system turn, no tools; the end of the text is marked. */
#define FIXTURE_PHI3                                                                               \
    "{% for m in messages %}{% if m.role == 'system' %}{{ '<|system|>\\n' + m.content + "          \
    "'<|end|>\\n' }}{% elif m.role == 'user' %}{{ '<|user|>\\n' + m.content + '<|end|>\\n' }}"     \
    "{% elif m.role == 'assistant' %}{{ '<|assistant|>\\n' + m.content + '<|end|>\\n' }}"          \
    "{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}"                \
    "{% else %}{{ eos_token }}{% endif %}"

/* All of them, with what they are called in a failed test's words. */
static const struct fixture_template {
    const char *name, *source;
} fixture_templates[] = {
    {"chatml", FIXTURE_CHATML},  {"smollm2", FIXTURE_SMOLLM2},    {"llama3", FIXTURE_LLAMA3},
    {"gemma", FIXTURE_GEMMA},    {"phi3", FIXTURE_PHI3},          {"mistral", FIXTURE_MISTRAL},
    {"qwen3", FIXTURE_THINKING}, {"qwen3-coder", FIXTURE_TAGGED},
};

enum { FIXTURE_TEMPLATES = sizeof fixture_templates / sizeof fixture_templates[0] };
