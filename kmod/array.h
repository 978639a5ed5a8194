/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * exmap: a growing array of frame numbers, used as a stack.
 *
 * It consists of blocks of one page. One piece would be too large for
 * kvmalloc() from a pool of 1 TiB on (2^28 frames of 8 bytes are more than
 * INT_MAX). To grow, it makes a longer list that names the old blocks and new
 * ones. Only the exchange of the two lists needs the user's lock, and takes no
 * time.
 *
 * Nothing here takes a lock. The user of an array says which lock protects it.
 */
#ifndef EXMAP_ARRAY_H
#define EXMAP_ARRAY_H

#define EXMAP_BLOCK_ENTRIES	(PAGE_SIZE / sizeof(unsigned long))

/**
 * struct exmap_array - frame numbers
 * @count: how many there are
 * @nr_blocks: number of blocks; each has room for EXMAP_BLOCK_ENTRIES
 * @blocks: the blocks
 */
struct exmap_array {
	unsigned long count;
	unsigned long nr_blocks;
	unsigned long **blocks;
};

static inline unsigned long exmap_array_capacity(const struct exmap_array *array)
{
	return array->nr_blocks * EXMAP_BLOCK_ENTRIES;
}

static inline unsigned long *exmap_array_at(const struct exmap_array *array,
					    unsigned long i)
{
	return array->blocks[i / EXMAP_BLOCK_ENTRIES] + i % EXMAP_BLOCK_ENTRIES;
}

/* Number of entries from @i on that lie in one block, at most @nr. */
static inline unsigned long exmap_array_run(unsigned long i, unsigned long nr)
{
	return min(nr, EXMAP_BLOCK_ENTRIES - i % EXMAP_BLOCK_ENTRIES);
}

/**
 * exmap_array_put() - push
 * @array: the array; it has room
 * @values: what to push
 * @nr: how many
 */
static inline void exmap_array_put(struct exmap_array *array,
				   const unsigned long *values,
				   unsigned long nr)
{
	unsigned long n;

	for (; nr; nr -= n, values += n, array->count += n) {
		n = exmap_array_run(array->count, nr);
		memcpy(exmap_array_at(array, array->count), values,
		       n * sizeof(*values));
	}
}

/**
 * exmap_array_take() - pop
 * @array: the array
 * @values: room for @nr
 * @nr: how many, no more than there are
 */
static inline void exmap_array_take(struct exmap_array *array,
				    unsigned long *values, unsigned long nr)
{
	unsigned long at, n;

	array->count -= nr;
	for (at = array->count; nr; nr -= n, values += n, at += n) {
		n = exmap_array_run(at, nr);
		memcpy(values, exmap_array_at(array, at), n * sizeof(*values));
	}
}

/**
 * exmap_array_free_blocks() - free some blocks and the list of them
 * @array: the array
 * @first: the first block to free; those before stay
 */
static inline void exmap_array_free_blocks(struct exmap_array *array,
					   unsigned long first)
{
	unsigned long i;

	for (i = first; i < array->nr_blocks; i++) {
		free_page((unsigned long)array->blocks[i]);
		cond_resched();
	}
	kvfree(array->blocks);
	array->nr_blocks = 0;
	array->blocks = NULL;
}

/**
 * exmap_array_extend() - make a larger list of blocks for an array
 * @array: the array; nobody else extends it meanwhile
 * @capacity: entries to make room for, more than there is room for now
 * @larger: the result, for exmap_array_exchange()
 *
 * Context: may sleep.
 * Return: 0, -ENOMEM, or -EINTR on a fatal signal; then nothing was made.
 */
static inline int exmap_array_extend(const struct exmap_array *array,
				     unsigned long capacity,
				     struct exmap_array *larger)
{
	unsigned long nr = DIV_ROUND_UP(capacity, EXMAP_BLOCK_ENTRIES), i;
	int err = 0;

	larger->count = 0;
	larger->blocks = kvmalloc_array(nr, sizeof(*larger->blocks),
					GFP_KERNEL_ACCOUNT | __GFP_NOWARN);
	if (!larger->blocks)
		return -ENOMEM;
	if (array->nr_blocks)
		memcpy(larger->blocks, array->blocks,
		       array->nr_blocks * sizeof(*larger->blocks));
	for (i = array->nr_blocks; i < nr && !err; i++) {
		larger->blocks[i] = (unsigned long *)
			__get_free_page(GFP_KERNEL_ACCOUNT | __GFP_NOWARN);
		if (!larger->blocks[i])
			err = -ENOMEM;
		else if (fatal_signal_pending(current))
			err = -EINTR;
		cond_resched();
	}
	/* free_page() of a block that is not there does nothing. */
	larger->nr_blocks = i;
	if (err)
		exmap_array_free_blocks(larger, array->nr_blocks);
	return err;
}

/**
 * exmap_array_exchange() - give an array its larger list of blocks
 * @array: the array, under its lock
 * @larger: from exmap_array_extend(); gets the old list, which the caller frees
 *          with kvfree()
 */
static inline void exmap_array_exchange(struct exmap_array *array,
					struct exmap_array *larger)
{
	unsigned long **old = array->blocks;

	array->blocks = larger->blocks;
	array->nr_blocks = larger->nr_blocks;
	larger->blocks = old;
}

#endif /* EXMAP_ARRAY_H */
