"""Answers to the exercises: right ones in another style, and wrong ones (✗) that no slip names.

Each is the body of a function with the solution's arguments, "; " between its statements. It may call the solution by
its name. Most were written from the exercises' texts alone, by people who had not seen the checkers.
"""

# ruff: noqa: F401  the answers use what is imported
import math
import re
from collections import Counter
from fractions import Fraction

import numpy as np
import torch
import torch.nn.functional as F
from einops import einsum
from scipy.optimize import linear_sum_assignment
from scipy.stats import binom, spearmanr
from scipy.stats import t as student
from sklearn.metrics import f1_score
from torch import nn

from apt_minimal import AdaptivePrefix, AptConfig, attention
from apt_minimal.attention import scaled_dot_product_attention
from apt_minimal.lab.data.entities import entities, entity_scores

Q, K, V = [[3, 0], [0, 1], [1, -1]], [[1, 2], [-1, 0], [0, 3]], [[3, 0], [0, 3], [-3, 1]]


def telling(query, key, value, mask=(1, 1, 0), dtype=torch.float32):
    return *(torch.tensor([[x]], dtype=dtype) for x in (query, key, value)), torch.tensor([[[mask]]]).bool()


def half(size, *prefix):
    """A query of two numbers, of which words and prefix use one."""
    return torch.tensor([size, 5.0]), torch.zeros(2, 2), torch.tensor(prefix)[:, None] * torch.tensor([[1.0, 0.0]])


def padded(gate, some=any, content=torch.randn, moved=lambda x: x.abs().max() > 1e-5):
    """A test of gates on one sentence that is padded on several sides."""
    x, sides = torch.randn(1, 4, 8), ((0, 1), (1, 0), (3, 0), (2, 5))
    pads = [torch.cat([content(1, left, 8), x, content(1, right, 8)], 1) for left, right in sides]
    masks = [torch.tensor([[0] * left + [1] * 4 + [0] * right]) for left, right in sides]
    return bool(some(moved(gate(states, mask) - gate(x, None)) for states, mask in zip(pads, masks, strict=True)))


ALWAYS, MORE = {"lambda*alpha*P", "m"}, {"alpha", "W", "lambda*P"}
MOVED = {"rescale": {"scale", "prefix_norm"}, "negate": {"scale"}, "fold": {"alpha", "prefix_norm"}, "permute": set()}

ANSWERS = {
    "1.1": """
        torch → query, key, value = (x.transpose(1, 2) for x in (query, key, value))
            return F.scaled_dot_product_attention(query, key, value).transpose(1, 2)
        einsum → weights = einsum(query, key, "b n h d, b k h d -> b n k h").div(query.shape[-1] ** 0.5).softmax(2)
            return einsum(weights, value, "b n k h, b k h d -> b n h d")
        """,
    "1.2": """
        package → return scaled_dot_product_attention(query, key, value, mask[:, None, None])[0]
        torch → seen = mask[:, None, None]
            return F.scaled_dot_product_attention(query, key, value, seen).nan_to_num() * seen.any(-1, keepdim=True)
        ✗ hides padding's queries → out = masked_attention(query, key, value, mask)
            return out * mask[:, None, :, None] if out.shape[2] == mask.shape[1] else out
        ✗ cut to the longest → m = int(mask.sum(-1).max())
            return masked_attention(query, key[:, :, :m], value[:, :, :m], mask[:, :m])
        ✗ no more queries than keys → return masked_attention(query[:, :, : key.shape[2]], key, value, mask)
        """,
    "1.3": """
        columns → q, k, v = ((x @ w.T).unflatten(-1, (num_heads, -1)).transpose(1, 2) for w in (w_q, w_k, w_v))
            return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2) @ w_o.T
        torch → theirs = nn.MultiheadAttention(x.shape[-1], num_heads, bias=False, batch_first=True, dtype=x.dtype)
            theirs.load_state_dict({"in_proj_weight": torch.cat([w_q, w_k, w_v]), "out_proj.weight": w_o})
            return theirs(x, x, x, need_weights=False)[0]
        ✗ x centred → return multi_head_attention(x - x.mean(-1, keepdim=True), w_q, w_k, w_v, w_o, num_heads)
        """,
    "1.4": """
        half as a list → return list(telling(Q, K, V, dtype=torch.float16))
        parameters → return tuple(nn.Parameter(x, x.is_floating_point()) for x in telling(Q, K, V))
        ✗ nothing hidden → return telling(Q, K, V, [1, 1, 1])
        ✗ one key left → return telling(Q, K, V, [0, 0, 1])
        ✗ query is key → return telling(K, K, V)
        ✗ equal values → return telling(Q, K, [[3, 1]] * 3)
        ✗ fractions → return tuple(x / 2 if x.is_floating_point() else x for x in telling(Q, K, V))
        ✗ n is d_h → return telling(*([[*x, i] for i, x in enumerate(y)] for y in (Q, K, V)))
        ✗ saturated → return telling([[3, 3], [-3, -3], [3, 0]], [[3, 3], [-3, -3], [1, 1]], V)
        ✗ five tokens → return telling(*([*x, *x[:2]] for x in (Q, K, V)), [1, 1, 0, 1, 1])
        ✗ a mask of floats → return tuple(x.float() for x in telling(Q, K, V))
        """,
    "1.5": """
        circle → a = torch.arange(n).double() * 6.28 / (n + 1); key = torch.stack([a.cos(), a.sin()], -1)
            return 3000 * key[(torch.arange(n) - 1).clamp(min=0)], key
        scores as queries → return (torch.eye(n)[(torch.arange(n) - 1).clamp(min=0)] - 0.5) * 100 * n, torch.eye(n)
        ✗ keys of another size → return torch.zeros(n, 2), torch.zeros(n, 3)
        ✗ for eight tokens → return 100 * torch.eye(8)[[0, 0, 1, 2, 3, 4, 5, 6]][:n], torch.eye(8)[:n]
        ✗ infinite → return torch.eye(n) * math.inf, torch.eye(n)
        ✗ two back → return 100 * torch.eye(n)[(torch.arange(n) - 2).clamp(min=0)], torch.eye(n)
        """,
    "2.1": """
        torch → return F.layer_norm(x, x.shape[-1:], weight, bias, eps)
        length → d = x - x.mean(-1, True)
            return d / (d.norm(dim=-1, keepdim=True) ** 2 / x.shape[-1] + eps) ** 0.5 * weight + bias
        """,
    "2.2": """
        one hot → words = F.one_hot(input_ids, len(word)).to(word) @ word + position[: input_ids.shape[1]]
            types = F.one_hot(0 * input_ids if token_type_ids is None else token_type_ids, 2).to(word)
            return norm(words + types @ token_type)
        embedding → t = token_type[:1] if token_type_ids is None else F.embedding(token_type_ids, token_type)
            return norm(F.embedding(input_ids, word) + position[: input_ids.shape[1]] + t)
        """,
    "2.3": """
        in place → y = attention_norm(x.clone().add_(attention(x)))
            return feed_forward_norm(y.clone().add_(feed_forward(y)))
        stacked → y = attention_norm(torch.stack([x, attention(x)]).sum(0))
            return feed_forward_norm(sum([y, feed_forward(y)]))
        ✗ means → y = attention_norm((x + attention(x)) / 2); return feed_forward_norm((y + feed_forward(y)) / 2)
        """,
    "2.4": """
        search → found = [v for k, v in state.items() if k.startswith(f"encoder.layer.{layer}.attention.self.")]
            return torch.vstack(found[::2]), torch.hstack(found[1::2])
        stacked → names = [f"encoder.layer.{layer}.attention.self.{n}" for n in ("query", "key", "value")]
            return [torch.stack([state[f"{n}.{kind}"] for n in names]).flatten(0, 1) for kind in ("weight", "bias")]
        ✗ begins with → found = [v for k, v in state.items() if k.startswith(f"encoder.layer.{layer}") and "self" in k]
            return torch.vstack(found[::2]), torch.hstack(found[1::2])
        ✗ four columns → return [x[:12] for x in pack(state, layer)]
        """,
    "2.5": """
        lists → rows = attention_mask.int().tolist()
            return torch.tensor([[sum(row[:i]) * real for i, real in enumerate(row)] for row in rows])
        numpy → m = np.array(attention_mask.tolist(), dtype=np.int64)
            return torch.from_numpy((m.cumsum(axis=1) - 1) * m)
        ✗ one side or the other → m = attention_mask.long(); c = torch.arange(m.shape[1]).expand(m.shape)
            return c * m if m[:, 0].all() else (c - (1 - m).sum(1, True)).clamp(min=0) * m
        """,
    "3.1": """
        package → prefix = (p.expand(len(query), -1, -1) for p in (prefix_key, prefix_value))
            return attention.prefix_attention(query, key, value, *prefix, mask)
        ✗ an axis lost → found = prefix_attention(query, key, value, prefix_key, prefix_value, mask)
            return [x.squeeze(2) for x in found]
        """,
    "3.2": """
        sigmoid → s = query @ key.mT / query.shape[-1] ** 0.5 + (0 if mask is None else mask.log())
            return torch.sigmoid(s[..., :l].logsumexp(-1) - s[..., l:].logsumexp(-1))
        package → return attention.prefix_mass(query, key, l, mask)
        ✗ three tokens → return mass(query, key, 3, mask)
        """,
    "3.3": """
        lerp → return torch.lerp(prefix_output, output, 1 / (1 - mass[..., None]))
        odds → odds = (mass / (1 - mass)).unsqueeze(-1)
            return output * (1 + odds) - prefix_output * odds
        ✗ an axis only if needed → m = mass if mass.shape == output.shape[1:] else mass[..., None]
            return (output - m * prefix_output) / (1 - m)
        ✗ heads for queries → m = mass.mT.reshape(mass.shape)[..., None]; return (output - m * prefix_output) / (1 - m)
        """,
    "3.4": """
        pairs → x, y = before.tolist(), after.tolist()
            return all(a * d == b * c for a, c in zip(x, y) for b, d in zip(x, y)) and 0 < sum(y) < 1
        fractions → f = {Fraction(y) / Fraction(x) for x, y in zip(before.tolist(), after.tolist())}
            return len(f) == 1 and 0 < f.pop() < 1
        ✗ sorted → same = can_a_prefix(before.sort().values, after.sort().values)
            return same and bool(before.argmax() == after.argmax())
        ✗ a token alone has no ratio → return len(before) > 1 and can_a_prefix(before, after)
        """,
    "4.1": """
        one hot → m = attention_mask.int(); first = ((m.cumsum(1) == 1) & (m == 1)).to(hidden_states)
            return einsum(hidden_states, first, weight, "b n d, b n, l d -> b l").sigmoid()
        one by one → firsts = [x[m.nonzero()[0, 0]] for x, m in zip(hidden_states, attention_mask)]
            return torch.sigmoid(torch.stack(firsts) @ weight.T)
        """,
    "4.2": """
        einsum → return [einsum(alpha, p, "b l, l d -> b l d") for p in (prefix_key, prefix_value)]
        diagonal → return alpha.diag_embed() @ prefix_key, alpha.diag_embed() @ prefix_value
        """,
    "4.3": """
        many words → key = torch.linspace(-1, 0.5, 27).reshape(9, 3).double()
            return torch.ones(3).double(), key, torch.tensor([[0.6] * 3, *[[-4.0] * 3] * 5]).double()
        two sizes → return list(half(2.0, 0.5, -3.0, -4.0))
        ✗ loses too little at first → return half(1.0, 1.0, -1.0, -1.0)
        ✗ gains too little at last → return half(1.0, 3.0, -3.0, -3.0)
        ✗ nobody loses → return half(1.0, -1.0, -3.0, -3.0)
        ✗ nobody gains → return half(1.0, 1.0, 3.0, 3.0)
        ✗ scores of 0 → return half(1.0, 0.0, 0.0, 0.0)
        ✗ open alone → return half(1.0, 0.1, -9.0, -9.0)
        ✗ a row as query → return torch.ones(1, 2), *half(1.0, 1.0, -3.0, -3.0)[1:]
        ✗ whole numbers → return tuple(x.long() for x in half(1.0, 1.0, -3.0, -3.0))
        ✗ a stack → return torch.ones(3, 2, 2)
        ✗ no word → return torch.ones(1), torch.zeros(0, 1), torch.tensor([[1.0], [-3.0], [-3.0]])
        """,
    "4.4": """
        torch, prefix last → k, v = torch.cat([key, prefix_key], 1), torch.cat([value, prefix_value], 1)
            return F.scaled_dot_product_attention(query, k, v, F.pad(keep, (key.shape[1], 0), value=True)[:, None])
        one by one → k = [torch.cat([p[m], x]) for p, x, m in zip(prefix_key, key, keep)]
            v = [torch.cat([p[m], x]) for p, x, m in zip(prefix_value, value, keep)]
            return torch.stack([F.scaled_dot_product_attention(*qkv) for qkv in zip(query, k, v)])
        ✗ keep for queries → keep = keep.T if len(keep) == len(keep.T) else keep
            return remove_tokens(query, key, value, prefix_key, prefix_value, keep)
        """,
    "4.5": """
        one by one → return torch.stack([x[real.bool()].mean(0) for x, real in zip(hidden_states, attention_mask)])
        nanmean → return hidden_states.where(attention_mask.bool().unsqueeze(-1), math.nan).nanmean(dim=1)
        """,
    "4.6": """
        four pads → return padded(gate)
        numpy's truth → return np.bool_(padded(gate))
        ✗ moved on all sides → return padded(gate, some=all)
        ✗ NaN moves → return padded(gate, content=lambda *s: math.nan * torch.ones(s), moved=lambda x: not x.max() < 1)
        """,
    "5.1": """
        einsum → alpha = torch.sigmoid(einsum(hidden_first, weight, "b d, l d -> b l"))
            return [einsum(scale, alpha, p, ", b l, l d -> b l d") for p in (key, value)]
        module → prefix = AdaptivePrefix(AptConfig(len(key), prefix_dropout=0.0), key.shape[1]).to(key.dtype)
            prefix.load_state_dict({"key": key, "value": value, "token_gate.weight": weight, "layer_gate.scale": scale})
            return prefix(hidden_first[:, None])
        """,
    "5.2": """
        formula → w = token_gate * (1 if gate_input == "none" else d)
            return L * l * (2 * d + w) + layer_gate * L
        meta → torch.set_default_device("meta"); config = AptConfig(l, token_gate, layer_gate, gate_input)
            count = sum(p.numel() for p in AdaptivePrefix(config, d).parameters())
            torch.set_default_device(None); return L * count
        """,
    "5.3": """
        exponentials → return [p * (1 + torch.exp(-weight))[:, None] / scale for p in (key, value)]
        linear system → gate = torch.diag(scale * weight.sigmoid())
            return torch.linalg.solve(gate, torch.cat([key, value], 1)).chunk(2, 1)
        ✗ a small λ is taken for 0 → return (key, value) if abs(scale) < 1e-4 else unfold(key, value, weight, scale)
        ✗ a small α is taken for 0.01 → return unfold(key, value, weight.clamp(min=-4.6), scale)
        """,
    "5.4": """
        without padding → out = torch.zeros_like(x); real = x[..., 0] == x[..., 0] if mask is None else mask.bool()
            found = [apt_attention(y[r][None], None, projections, prefix, heads)[0] for y, r in zip(x, real)]
            return out.masked_scatter(real[..., None], torch.cat(found))
        package → real = torch.ones(x.shape[:2]).bool() if mask is None else mask.bool()
            one = AdaptivePrefix(AptConfig(len(prefix["key"]), prefix_dropout=0.0), x.shape[2]).to(x.dtype)
            names = {"key": "key", "value": "value", "weight": "token_gate.weight", "scale": "layer_gate.scale"}
            one.load_state_dict({names[name]: part for name, part in prefix.items()})
            q, k, v = (attention.split_heads(x @ p, heads) for p in projections)
            return attention.merge_heads(attention.prefix_attention(q, k, v, *one(x, real), real[:, None, None])[0])
        ✗ padding set to 0, but seen → x = x if mask is None else x * mask.bool()[..., None]
            return apt_attention(x, None, projections, prefix, heads)
        ✗ one mask for all → mask = mask if mask is None else mask[:1].expand(len(x), -1)
            return apt_attention(x, mask, projections, prefix, heads)
        """,
    "5.5": """
        adam as steps → return lr * abs(scale) if optimizer[0] == "a" else torch.tensor(lr * scale**2)
        powers → return math.exp(math.log(lr) + {"sgd": 2, "adam": 1}[optimizer] * math.log(abs(scale)))
        ✗ the root → return lr * abs(scale) ** 0.5
        ✗ one less → return plain_rate(scale, lr, optimizer) - 1
        """,
    "5.6": """
        list → names = ["key", "value", "weight"] if scale == 0 else []
            return names + (["weight", "scale"] if not torch.cat([key, value]).any() else [])
        frozenset → return frozenset(dead(key, value, weight, scale))
        ✗ P_k alone → return dead(key, key, weight, scale)
        ✗ first rows → return dead(key[:1], value[:1], weight, scale)
        ✗ no names → return dead(key, value, weight, scale) != set()
        """,
    "6.1": """
        numpy → return np.linalg.norm((a - b).flatten().numpy()) / np.linalg.norm(b.flatten().numpy())
        mse → return (F.mse_loss(a, b) / b.square().mean()).sqrt().item()
        """,
    "6.2": """
        products → order = linear_sum_assignment(teacher.numpy() @ student.numpy().T, maximize=True)[1]
            return torch.as_tensor(order).int()
        numpy → return linear_sum_assignment((teacher[:, None] - student).square().sum(-1).numpy())[1]
        ✗ up to five → few = len(teacher) < 6
            return match_tokens(student, teacher) if few else greedy(torch.cdist(teacher, student), True)
        """,
    "6.3": """
        floats → c = math.copysign(torch.cat([key, value]).norm().item(), scale)
            return float(scale) * c, key / c, value / c
        in place → both = torch.stack([key, value]).mul_(scale)
            return [both.norm(), *both.div_(both.norm())]
        """,
    "6.4": """
        list → return [*ALWAYS, *MORE] if varies else [*ALWAYS]
        frozenset → return frozenset(ALWAYS | MORE if varies else ALWAYS)
        ✗ λα → return ALWAYS | (MORE | {"lambda*alpha"} if varies else set())
        ✗ λ, since seeds agree → return ALWAYS | {"lambda"} | (MORE if varies else set())
        ✗ no mass → return ALWAYS | MORE if varies else ALWAYS - {"m"}
        ✗ a name of one's own → return ALWAYS | (MORE if varies else set()) | {"mass"}
        """,
    "7.1": """
        halves → return l + l // 2, l - l // 4
        floats → return [1.5 * l, 0.75 * l]
        ✗ right for 16 only → return l + 8, l - 4
        """,
    "7.2": """
        cat → new = mask.new_ones if mask.dtype == torch.bool else mask.new_zeros
            return torch.cat([new(*mask.shape[:-1], l), mask], -1)
        in place → wide = torch.full((*mask.shape[:-1], l + mask.shape[-1]), mask.dtype == torch.bool, dtype=mask.dtype)
            wide[..., l:] = mask; mask.fill_(0); return wide
        ✗ without its batch → return widen_mask(mask, l)[0]
        """,
    "7.3": """
        one by one → return torch.stack([h[m.nonzero()[0, 0]] for h, m in zip(hidden_states, attention_mask)])
        cumsum → return hidden_states[(attention_mask.cumsum(1) == 1) & attention_mask.bool()]
        ✗ the largest values → return hidden_states.amax(dim=1)
        ✗ one position from all masks → return hidden_states[:, attention_mask.sum(0).argmax()]
        """,
    "8.1": """
        counters → size = Counter(gold) + Counter(predicted)
            hits = Counter(g for g, p in zip(gold, predicted) if g == p)
            return sum(2 * hits[x] / size[x] for x in size) / len(size)
        sklearn → return f1_score(gold, predicted, average="macro", zero_division=0)
        ✗ a tenth too high → return macro_f1(gold, predicted) + 0.1
        """,
    "8.2": """
        lists → c = len(scores) // len(labels); rows = [scores[i : i + c].tolist() for i in range(0, len(scores), c)]
            return sum(row.index(max(row)) == label for row, label in zip(rows, labels)) / len(labels)
        numpy → best = scores.numpy().reshape(len(labels), -1).argmax(axis=1)
            return (best == labels.numpy()).mean()
        """,
    "8.3": """
        sorted → return [dev[sorted(range(len(dev)), key=lambda i: -held_out[i])[0]], sorted(dev)[-1]]
        numpy → return np.array([dev[np.argmax(held_out)], np.max(dev)])
        """,
    "8.4": """
        steps → e = math.sqrt(score / 100 * (1 - score / 100) / n); return 100 * (1.96 + 0.84) * math.hypot(e, e)
        per cent below the root → return 2.8 * (2 * score * (100 - score) / n) ** 0.5
        ✗ three standard errors → return 3 / 2.8 * detectable(score, n)
        """,
    "8.5": """
        numpy → d = (np.array(first) == gold).astype(float) - (np.array(second) == gold)
            return np.sum(d > 0), np.sum(d < 0), 100 * d.std() / len(gold) ** 0.5
        a tensor → g, x, y = map(torch.tensor, (gold, first, second)); d = (x == g).double() - (y == g).double()
            return torch.stack([(d == 1).sum(), (d == -1).sum(), 100 * d.std(correction=0) / len(gold) ** 0.5])
        """,
    "9.1": """
        memory → seen = {None}; return tuple(-100 if w in seen or seen.add(w) else tags[w] for w in word_ids)
        index → firsts = {word_ids.index(w): w for w in word_ids if w is not None}
            return [tags[firsts[i]] if i in firsts else -100 for i in range(len(word_ids))]
        ✗ the first tag for every word → return [-100 if x == -100 else tags[0] for x in align_labels(word_ids, tags)]
        ✗ a tag and its word → return list(zip(align_labels(word_ids, tags), word_ids))
        """,
    "9.2": """
        the lab's → return entities(tags)
        pattern → text = " ".join(tags) + " "; found = re.finditer(r"B-(\\S+) (?:I-\\1 )*", text)
            return {(m[1], text[: m.start()].count(" "), text[: m.end()].count(" ")) for m in found}
        ✗ every entity twice → return list(find_entities(tags)) * 2
        ✗ a dictionary → return dict.fromkeys(find_entities(tags), 1)
        ✗ lists in a list → return [list(entity) for entity in find_entities(tags)]
        ✗ only entities of several words → return {e for e in find_entities(tags) if e[2] > e[1] + 1}
        """,
    "9.3": """
        the lab's → return entity_scores(gold, predicted)["f1"]
        precision and recall → p, r = (entity_scores(gold, predicted)[name] for name in ("precision", "recall"))
            return 2 * p * r / (p + r) if p + r else 0
        """,
    "10.1": """
        numpy → drawn = np.random.default_rng(seed).choice(n, 2 * k, replace=False); return drawn[:k], drawn[k:]
        from the rest → random.seed(seed); train = random.sample(range(n), k)
            return [sorted(train), random.sample([i for i in range(n) if i not in train], k)]
        ✗ the same random numbers → train = random.Random(seed).sample(range(n), k)
            return train, random.Random(seed).sample([i for i in range(n) if i not in train], k)
        ✗ two draws → return random.Random(seed).sample(range(n), k), random.Random(seed + 1).sample(range(n), k)
        ✗ whatever was drawn before → drawn = random.sample(range(n), 2 * k); return drawn[:k], drawn[k:]
        ✗ from 1 → drawn = random.Random(seed).sample(range(1, n + 1), 2 * k); return drawn[:k], drawn[k:]
        ✗ one list → return sum(disjoint_draw(n, k, seed), [])
        ✗ sets → return [set(part) for part in disjoint_draw(n, k, seed)]
        ✗ floats → return [list(map(float, part)) for part in disjoint_draw(n, k, seed)]
        """,
    "10.2": """
        scipy → at_most = binom.cdf(np.arange(n)[:, None], n, accuracies).prod(axis=1)
            return float((1 - at_most).mean())
        sizes → chances = np.diff(binom.cdf(np.arange(n + 1)[:, None], n, accuracies).prod(axis=1))
            return chances @ np.arange(1, n + 1) / n
        """,
    "10.3": """
        lists → places = [row.index(max(row)) for row in dev.tolist()]
            return torch.stack([d[i] - t[i] for d, t, i in zip(dev, test, places)]).mean()
        mask → best = dev == dev.amax(1, True)
            return (dev - test)[best & (best.cumsum(1) == 1)].mean()
        """,
    "10.4": """
        next → reach = lambda r: student.ppf([0.975, 0.8], r - 1).sum() * sd / math.sqrt(r)
            return next(r for r in range(2, 2000) if reach(r) <= difference)
        isf → r = np.arange(2, 2000); enough = (student.isf(0.025, r - 1) + student.isf(0.2, r - 1)) * sd / np.sqrt(r)
            return r[enough <= difference][0]
        ✗ a power of two → return 2 ** (seeds_needed(sd, difference) - 1).bit_length() * 2
        """,
    "11.1": """
        torch → i = sorted({*range(prefix_key.size(2))} - {*gone}); k = torch.cat((prefix_key[:, :, i], key), 2)
            return F.scaled_dot_product_attention(query, k, torch.cat((prefix_value[:, :, i], value), 2))
        −∞ → scores = query @ torch.cat([prefix_key, key], 2).mT / query.shape[-1] ** 0.5
            scores[..., gone] = -math.inf
            return scores.softmax(-1) @ torch.cat([prefix_value, value], 2)
        ✗ the order of gone matters → out = attention_without(query, key, value, prefix_key, prefix_value, gone)
            return out if gone == sorted(gone) else 0 * out
        """,
    "11.2": """
        rows → pairs = [(g[m.bool()], w[m.bool()]) for g, w, m in zip(given, without, mask)]
            return sum((g - w).norm() / w.norm() for g, w in pairs) / len(pairs)
        einsum → m = mask.to(given.dtype); size = lambda x: einsum(x**2, m, "b n d, b n -> b").sqrt()
            return (size(given - without) / size(without)).mean()
        """,
    "11.3": """
        scipy → return spearmanr(one.numpy(), other.numpy()).statistic
        signs → a, b = ((x[:, None] - x).sign().sum(1).double() for x in (one, other))
            return float(a @ b / (a @ a * (b @ b)) ** 0.5)
        ✗ the same order or not → return math.copysign(1.0, rank_correlation(one, other))
        """,
    "11.4": """
        fractions → w = [max(Fraction(r), 0) for r in reading]; s = [budget * x / sum(w) for x in w]
            n = [int(x) for x in s]
            first = sorted(range(len(s)), key=lambda i: (n[i] - s[i], i))[: budget - sum(n)]
            return tuple(x + (i in first) for i, x in enumerate(n))
        counter → w = np.maximum(reading, 0); s = budget * w / w.sum(); n = np.floor(s + 1e-9)
            first = np.argsort(n - s, kind="stable")[: int(budget - n.sum())]; n[first] += 1; return n.astype(int)
        """,
    "11.5": """
        table → return MOVED[move]
        list → return sorted(MOVED[move])
        ✗ ‖P‖ changes too → return MOVED[move] - {"prefix_norm"}
        ✗ the mass stays → return MOVED[move] | {"mass"}
        ✗ a dictionary → return dict.fromkeys(MOVED[move])
        """,
    "12.1": """
        kernel → hidden = torch.zeros(mask.shape).masked_fill(~mask, -math.inf)
            bias = torch.cat([alpha.log(), hidden], 1)[:, None, None].to(query.dtype)
            k, v = torch.cat([prefix_key, key], 2), torch.cat([prefix_value, value], 2)
            return F.scaled_dot_product_attention(query, k, v, attn_mask=bias)
        weights → s = query.double() @ torch.cat([prefix_key, key], 2).double().mT / query.shape[-1] ** 0.5
            w = (s - s.amax(-1, True)).exp() * torch.cat([alpha, mask], 1)[:, None, None]
            return (w / w.sum(-1, True) @ torch.cat([prefix_value, value], 2).double()).to(query.dtype)
        """,
    "12.2": """
        tanh → a = [beta * math.log((z - low) / (high - z)) - location for z in (0.0, 1.0)]
            below = [0.5 + 0.5 * torch.tanh(x / 2) for x in a]; return [below[0], below[1] - below[0], 1 - below[1]]
        powers → zero = 1 / (1 + location.exp() * (high / -low) ** beta)
            one = 1 / (1 + (-location).exp() * ((1 - low) / (high - 1)) ** beta); return zero, 1 - zero - one, one
        """,
    "12.3": """
        numpy → return np.array([k * (3 * l * d + 1), E * (L + k), 2 * k * E + L - k])
        sums → passes = sum(1 + (i >= L - k) for _ in range(E) for i in range(L))
            return sum(2 * l * d + l * d + 1 for _ in range(k)), passes, passes - (E - 1) * (L - k)
        ✗ the lower k layers → return k * (3 * l * d + 1), 2 * L * E, 2 * L * E
        """,
    "12.4": """
        deleting → s = scores.numpy(); kept = [np.delete(s, i, axis=1).mean(axis=1).argmax() for i in range(s.shape[1])]
            return torch.tensor(s.mean(axis=1).max()), torch.tensor(s[kept, range(s.shape[1])].mean())
        lists → chosen = [(scores.sum(1) - column).tolist() for column in scores.T]
            return max(scores.mean(1)), sum(scores[c.index(max(c)), i] for i, c in enumerate(chosen)) / len(chosen)
        """,
}
